"""Where rows come from: built-in sets, files, and the Hub (which is played by a stand-in)."""

from types import SimpleNamespace

import datasets
import pytest

from pipeline.dataset import hub_reach
from pipeline.dataset.prepare import load_benchmark, mapping_of
from pipeline.dataset.sources import DATASETS, hub_error, looks_like_hub_id, open_named, open_source
from pipeline.errors import DatasetError
from pipeline.recipe import DataStep


@pytest.fixture
def hub(monkeypatch):
    """Rows by (repo, config, split); records what was asked for."""
    asked, served = [], {}

    class Stream(list):
        info = SimpleNamespace(splits=dict.fromkeys(("train", "test"), SimpleNamespace(num_examples=7)))

    def load(repo, config, split, revision, streaming):
        asked.append((repo, config, split, revision, streaming))
        return Stream(served.get(repo, [{"question": "Why?", "answer": "It is.\n#### 7"}]))

    monkeypatch.setattr(hub_reach, "answers", lambda repo, tries=1: True)
    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *a, **k: ["test", "train"])
    monkeypatch.delenv("REASONING_STUDIO_DATA", raising=False)
    return SimpleNamespace(asked=asked, served=served)


def test_built_in_sets_are_streamed_from_their_place_on_the_hub(hub):
    list(open_source(DataStep(source="gsm8k")))
    assert hub.asked == [("openai/gsm8k", "main", "train", None, True)]
    assert load_benchmark("gsm8k")[0]["reference"] == "7"
    assert hub.asked[1] == ("openai/gsm8k", "main", "test", None, True)


def test_aime_2025_comes_from_its_place_on_the_hub_in_its_own_columns(hub):
    """A stand-in of two rows in the columns of math-ai/aime25: problem, answer, id."""
    hub.served["math-ai/aime25"] = [{"problem": f"Find $n$ with $n={i}^2$.", "answer": str(i * i), "id": str(i)}
                                    for i in (7, 9)]
    assert [row["reference"] for row in load_benchmark("aime2025")] == ["49", "81"]
    assert hub.asked == [("math-ai/aime25", None, "test", None, True)]


def test_a_hub_id_without_a_split_takes_train(hub):
    rows = open_source(DataStep(source="me/mine", revision="v1"))
    assert [n for n, _ in rows] == [1]
    assert rows.total == 7
    assert hub.asked == [("me/mine", None, "train", "v1", True)]


def test_every_built_in_set_maps_its_own_columns():
    for name, known in DATASETS.items():
        row = dict.fromkeys(known.mapping.values(), "Some text here. #### 4")
        mapping = mapping_of(DataStep(source=name), [row])
        assert mapping.question == known.mapping["question"]
        assert mapping.reasoning == known.mapping.get("reasoning")
        assert mapping.answer == known.mapping["answer"]
        assert known.licence
        assert known.sentence


def test_other_columns_than_expected_are_guessed_instead_of_failing(hub):
    """A set on the Hub may change its columns."""
    mapping = mapping_of(DataStep(source="gsm8k"), [{"prompt": "Why is it?", "solution": "So.", "answer": "4"}])
    assert (mapping.question, mapping.reasoning, mapping.answer) == ("prompt", "solution", "answer")


class DatasetNotFoundError(Exception):
    """Named like the one of `datasets`."""


@pytest.mark.parametrize(("error", "words"), [
    (DatasetNotFoundError("Dataset 'a/b' is a gated dataset on the Hub"), "accept its terms"),
    (DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub"), "There is no dataset 'a/b'"),
    (ConnectionError("Couldn't reach"), "cannot be reached"),
    (ValueError("Config name is missing. Please pick one among: main, socratic"), "needs a configuration"),
    (ValueError('Unknown split "x". Should be one of [train]'), "has no split 'x'"),
    (RuntimeError("Dataset scripts are no longer supported, but found b.py"), "never run here"),
    (KeyError("odd"), "could not be read"),
])
def test_what_the_hub_says_becomes_a_sentence_with_a_way_on(error, words):
    assert words in str(hub_error("a/b", None, "x", error))


def test_names_that_are_nothing_say_what_can_be_given():
    for source in ("nonsense", "/no/file.csv", "a/b/c", "data/rows.csv"):
        with pytest.raises(DatasetError, match="There is no dataset"):
            open_named(source)
    assert looks_like_hub_id("openai/gsm8k")
    assert not looks_like_hub_id("data/rows.csv")
