"""When the report says that a reasoning ends in another number than the answer."""

import pytest

from pipeline.dataset.quality import disagrees


@pytest.mark.parametrize(("reasoning", "reference", "expected"), [
    ("So it is 5.", "6", True), ("So it is 5.", "9 apples", True), ("So it is 5.", "5.0", False),
    ("So it is 5.", "$5", False), ("So 1,000.", "1000", False), ("It is 0.333333333.", "1/3", False),
    ("So it is 50%.", "50", False), ("So it is 5.", "nan", False), ("So it is 5.", "inf", False),
    ("So it is 5.", "1_0", False)])
def test_they_disagree_only_where_both_are_numbers_for_the_answer_check(reasoning: str, reference: str,
                                                                        expected: bool) -> None:
    """`nan`, `inf` and `1_0` are numbers for Python's float() alone."""
    assert disagrees(reasoning, reference) is expected
