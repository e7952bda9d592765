"""The statistics against published worked examples, brute force, and simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.statistics import (
    bootstrap_mean,
    clustered_rate,
    holm,
    majority_at_k,
    mcnemar,
    pass_at_k,
    questions_needed,
    sign_flip,
    wilson,
)


@pytest.mark.parametrize(("count", "n", "low", "high"), [
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)])
def test_wilson_gives_the_intervals_of_newcombe(count, n, low, high):
    """Newcombe 1998, table I, method 3 (score, no continuity correction)."""
    rate = wilson(count, n)
    assert (round(rate.low, 4), round(rate.high, 4)) == (low, high)


def test_a_rate_of_nothing_is_unknown():
    assert wilson(0, 0).rate is None
    assert (wilson(0, 5).low, wilson(5, 5).high) == (0.0, 1.0)


def test_exact_mcnemar_gives_the_published_p_value():
    """The worked example of R's exact2x2 (Fay 2010): 21 against 9 discordant pairs, p = 0.04277."""
    assert round(mcnemar(21, 9), 5) == 0.04277
    assert mcnemar(0, 0) == 1.0


def test_the_sign_flip_test_gives_fishers_count_for_darwins_maize():
    """Fisher 1935: of the 32,768 ways to sign the 15 differences, 863 give a sum of at least 314: p = 1726 /
    32768."""
    darwin = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    assert sum(darwin) == 314
    assert sign_flip(darwin) == pytest.approx(1726 / 32768, abs=1e-12)


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_sign_flip_test_of_one_answer_a_question(gained, lost):
    assert sign_flip([1] * gained + [-1] * lost + [0] * 3) == pytest.approx(mcnemar(gained, lost), abs=1e-9)


def test_the_sign_flip_test_agrees_with_scipy():
    """8 answers a question; scipy enumerates all 2^12 swaps."""
    rng = np.random.default_rng(3)
    a, b = rng.binomial(8, 0.7, 12), rng.binomial(8, 0.5, 12)
    scipy_p = stats.permutation_test((a, b), lambda x, y, axis: np.mean(x - y, axis=axis), vectorized=True,
                                     permutation_type="samples", n_resamples=10_000).pvalue
    assert sign_flip(list(a - b)) == pytest.approx(scipy_p, abs=1e-9)


def test_holm_gives_the_textbook_values():
    """p = .01 .04 .03 .005: sorted .005x4, .01x3, .03x2, .04x1, made monotone: .02 .03 .06 .06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer():
    """Five answers, two right, two drawn: 3 of 10 pairs hold no right one."""
    assert pass_at_k(5, 2, 2) == pytest.approx(0.7)
    assert pass_at_k(5, 0, 5) == 0.0
    assert pass_at_k(200, 3, 1) == pytest.approx(0.015)
    with pytest.raises(ValueError, match="k <= n"):
        pass_at_k(3, 1, 4)


def _majority_by_hand(answers, right, k):
    """Every k-subset; the winners of the vote share it."""
    total = 0.0
    for chosen in itertools.combinations(range(len(answers)), k):
        votes: dict = {}
        for i in chosen:
            key = "RIGHT" if right[i] else answers[i]
            if key is not None:
                votes[key] = votes.get(key, 0) + 1
        top = [key for key, count in votes.items() if count == max(votes.values())]
        total += ("RIGHT" in top) / len(top) if top else 0.0
    return total / math.comb(len(answers), k)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["7", "8", "9", "10", None]), min_size=1, max_size=9), st.data())
def test_majority_at_k_is_the_mean_over_all_subsets(answers, data):
    right = [a == "7" for a in answers]
    k = data.draw(st.integers(1, len(answers)))
    assert majority_at_k(answers, right, k) == pytest.approx(_majority_by_hand(answers, right, k), abs=1e-9)


def test_the_paired_bootstrap_agrees_with_scipy():
    """300 questions, 41 gained and 6 lost; both are Monte Carlo, so they agree to half a point."""
    d = np.array([1] * 41 + [-1] * 6 + [0] * 253)
    low, high = bootstrap_mean(d)
    reference = stats.bootstrap((d,), np.mean, method="percentile", rng=1).confidence_interval
    assert (low, high) == pytest.approx((reference.low, reference.high), abs=0.005)


def test_answers_to_one_question_are_not_counted_as_independent():
    """100 questions answered 8 times, each always right or always wrong: the interval is that of 100, not of
    800."""
    rate = clustered_rate([8] * 50 + [0] * 50, samples=8)
    assert (rate.count, rate.n) == (400, 800)
    alone = wilson(50, 100)
    assert rate.high - rate.low == pytest.approx(alone.high - alone.low, abs=0.02)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_wilson_interval_covers_the_truth_about_95_times_in_100(p):
    """2,000 draws of n = 300. Exact coverage lies within 94-96 %; Monte Carlo adds ±1 point."""
    draws = np.random.default_rng(5).binomial(300, p, 2_000)
    rates = {c: wilson(int(c), 300) for c in set(draws)}
    covered = np.mean([rates[c].low <= p <= rates[c].high for c in draws])
    assert 0.93 <= covered <= 0.97


def test_the_bootstrap_of_a_difference_covers_the_truth_about_95_times_in_100():
    """1,000 draws of 200 questions, 15 % gained and 5 % lost: the truth is 10 points."""
    rng = np.random.default_rng(6)
    covered = 0
    for seed in range(1_000):
        d = rng.choice([1, -1, 0], size=200, p=[0.15, 0.05, 0.80])
        low, high = bootstrap_mean(d, seed=seed)
        covered += low <= 0.10 <= high
    assert 0.92 <= covered / 1_000 <= 0.97


def test_the_number_of_questions_needed_gives_the_promised_power():
    """Connor's n for 5 points at 20 % discordant; simulated power of the exact test, a little below 80 % as
    it is
    conservative."""
    n = questions_needed(0.05, 0.20)
    assert 600 <= n <= 640
    draws = np.random.default_rng(7).multinomial(n, [0.125, 0.075, 0.80], size=1_000)
    power = np.mean([mcnemar(int(g), int(w)) < 0.05 for g, w, _ in draws])
    assert 0.74 <= power <= 0.84
