"""Hand-worked cases of every metric, and agreement with public implementations to 1e-9."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals import metrics

# -- token budgets --


def test_evidence_recall_and_all_evidence() -> None:
    assert metrics.evidence_recall(["a", "b", "c", "d"], {"a", "c", "x"}) == 0.5
    assert metrics.all_evidence(["a", "b"], {"a"}) == 0.0
    assert metrics.all_evidence(["a", "b"], {"a", "b", "c"}) == 1.0
    with pytest.raises(ValueError, match="without evidence"):
        metrics.evidence_recall([], {"a"})


def test_cut_skips_what_does_not_fit_and_goes_on() -> None:
    assert metrics.cut([4, 5, 3, 3], 10) == [0, 1]
    assert metrics.cut([4, 9, 3, 3], 10) == [0, 2, 3]
    assert metrics.cut([11], 10) == []


@given(st.lists(st.integers(0, 50)), st.integers(0, 200))
def test_cut_never_exceeds_the_budget(sizes: list[int], budget: int) -> None:
    chosen = metrics.cut(sizes, budget)
    assert sum(sizes[position] for position in chosen) <= budget
    assert chosen == sorted(set(chosen))


def test_verbatim_wants_the_full_text_as_whole_words() -> None:
    context = "[2 May] Ana: I moved to\n  Lyon.\nBen: Theory is fine."
    turns = {
        "1": "I moved to Lyon.",
        "2": "I moved to Lyon. Really!",
        "3": "The",
        "4": "",
        "5": "is",
    }
    assert metrics.verbatim(context, turns) == {"1", "5"}


def test_verbatim_looks_past_a_match_inside_a_word() -> None:
    assert metrics.verbatim("cats and a cat", {"1": "cat"}) == {"1"}
    assert metrics.verbatim("cats and dogs", {"1": "cat"}) == set()


def test_linked_ignores_units_that_cite_more_than_three_turns() -> None:
    assert metrics.linked({"1"}, [("2", "3"), ("4", "5", "6", "7")]) == {"1", "2", "3"}


# -- rankings --


def test_recalls() -> None:
    ranked = ["x", "a", "y", "b"]
    assert metrics.recall_at(ranked, {"a", "b"}, 2) == 0.5
    assert metrics.recall_any_at(ranked, {"a", "b"}, 2) == 1.0
    assert metrics.recall_all_at(ranked, {"a", "b"}, 2) == 0.0
    assert metrics.recall_all_at(ranked, {"a", "b"}, 4) == 1.0
    assert metrics.recall_any_at(ranked, set(), 4) == 0.0
    assert metrics.recall_all_at(ranked, set(), 4) == 1.0  # free under the original rule


def test_ndcg_standard() -> None:
    # relevant at ranks 2 and 4: (1/log2 3 + 1/log2 5) / (1 + 1/log2 3)
    expected = (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3))
    assert metrics.ndcg_at(["x", "a", "y", "b"], {"a", "b"}, 4) == pytest.approx(
        expected, abs=1e-12
    )
    assert metrics.ndcg_at(["a", "b"], {"a", "b"}, 2) == 1.0
    assert metrics.ndcg_at(["a"], set(), 5) == 0.0


def test_ndcg_original_does_not_discount_rank_two() -> None:
    # ranks 2 and 4: 1/1 + 1/log2 4 = 1.5 against the ideal 1 + 1 = 2
    assert metrics.ndcg_original_at(["x", "a", "y", "b"], {"a", "b"}, 4) == 0.75
    assert metrics.ndcg_original_at(["x", "a"], {"a"}, 2) == 1.0
    assert metrics.ndcg_original_at(["x"], {"a"}, 2) == 0.0


def test_reciprocal_rank() -> None:
    assert metrics.reciprocal_rank(["x", "y", "a"], {"a"}) == pytest.approx(1 / 3)
    assert metrics.reciprocal_rank(["x"], {"a"}) == 0.0


@given(st.permutations(range(8)), st.sets(st.integers(0, 7), min_size=1), st.integers(1, 8))
def test_rankings_are_bounded_and_ordered(ranked: list[int], relevant: set[int], k: int) -> None:
    recall = metrics.recall_at(ranked, relevant, k)
    assert metrics.recall_all_at(ranked, relevant, k) <= recall
    assert recall <= metrics.recall_any_at(ranked, relevant, k)
    assert 0 <= metrics.ndcg_at(ranked, relevant, k) <= 1
    assert 0 <= metrics.ndcg_original_at(ranked, relevant, k) <= 1


# -- answers --


def test_stemmed_f1() -> None:
    pytest.importorskip("nltk")
    # stems {paint, sunris} against {paint, sunset, lake}: one shared, P 1/2, R 1/3
    assert metrics.stemmed_f1(
        "the painting, a sunrise", "painted sunset and lake"
    ) == pytest.approx(0.4, abs=1e-12)
    # a bag, not a set: "very very" shares two with "very very good"
    assert metrics.stemmed_f1("very very", "very very good") == pytest.approx(0.8, abs=1e-12)
    assert metrics.stemmed_f1("", "x") == 0.0


def test_locomo_f1_by_category() -> None:
    pytest.importorskip("nltk")
    # 1: parts "pottery" (1.0) and "camping trips" (best 2/3) → 5/6
    assert metrics.locomo_f1("camping, pottery", "pottery, camping trips", 1) == pytest.approx(
        5 / 6
    )
    assert metrics.locomo_f1("Likely no", "Likely no; she prefers tea", 3) == 1.0
    assert metrics.locomo_f1("7 May 2023", "7 May, 2023", 2) == 1.0
    assert metrics.locomo_f1("It is Not mentioned.", "", 5) == 1.0
    assert metrics.locomo_f1("Lyon", "", 5) == 0.0


def test_set_f1_counts_words_once_and_does_not_stem() -> None:
    # {very, good} against {very, bad}
    assert metrics.set_f1("Very very good!", "very bad.") == 0.5
    assert metrics.set_f1("paints", "painting") == 0.0


def test_bleu1() -> None:
    pytest.importorskip("nltk")
    # two of three tokens match; the prediction is longer, so no brevity penalty
    assert metrics.bleu1("in sunny Lyon", "in Lyon") == pytest.approx(2 / 3, abs=1e-12)
    # one of one matches; brevity penalty exp(1 - 2/1)
    assert metrics.bleu1("Lyon", "in Lyon") == pytest.approx(math.exp(-1), abs=1e-12)
    assert metrics.bleu1("", "Lyon") == 0.0


def test_rouge_l() -> None:
    pytest.importorskip("rouge_score")
    # longest common subsequence "moved to lyon" of 3; lengths 4 and 5
    score = metrics.rouge_l("Ana moved to Lyon", "she moved house to Lyon")
    assert score == pytest.approx(2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5), abs=1e-12)


def _sentences(count: int) -> list[str]:
    text = "the a cat's running happily, proceeds dies news 7 May 2023; and Lyon! sunrise it"
    words = text.split()
    generator = random.Random(0)
    return [" ".join(generator.choices(words, k=generator.randint(1, 12))) for _ in range(count)]


def test_rouge_l_equals_its_definition() -> None:
    pytest.importorskip("rouge_score")
    from rouge_score.tokenizers import DefaultTokenizer

    tokenize = DefaultTokenizer(use_stemmer=True).tokenize
    for said, meant in zip(_sentences(100), reversed(_sentences(100)), strict=True):
        a, b = tokenize(said), tokenize(meant)
        common = _longest_common_subsequence(a, b)
        expected = 0.0 if not common else 2 * common / (len(a) + len(b))
        assert metrics.rouge_l(said, meant) == pytest.approx(expected, abs=1e-9)


def _longest_common_subsequence(a: list[str], b: list[str]) -> int:
    row = [0] * (len(b) + 1)
    for left in a:
        above = row[:]
        for column, right in enumerate(b, 1):
            row[column] = (
                above[column - 1] + 1 if left == right else max(above[column], row[column - 1])
            )
    return row[-1]


def test_bleu1_equals_clipped_precision_with_brevity_penalty() -> None:
    pytest.importorskip("nltk")
    from nltk.tokenize.destructive import NLTKWordTokenizer
    from nltk.translate.bleu_score import modified_precision

    tokenize = NLTKWordTokenizer().tokenize
    for said, meant in zip(_sentences(100), reversed(_sentences(100)), strict=True):
        a, b = tokenize(said.lower()), tokenize(meant.lower())
        precision = modified_precision([b], a, 1)
        value = precision.numerator / precision.denominator
        penalty = 1.0 if len(a) > len(b) else math.exp(1 - len(b) / len(a))
        if value:  # method 1 smooths a zero count
            assert metrics.bleu1(said, meant) == pytest.approx(value * penalty, abs=1e-9)


def test_ndcg_equals_a_public_implementation() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    generator = random.Random(1)
    for _ in range(50):
        ranked = list(range(10))
        generator.shuffle(ranked)
        relevant = set(generator.sample(range(10), generator.randint(1, 6)))
        k = generator.randint(1, 10)
        gains = [[float(item in relevant) for item in ranked]]
        scores = [[float(len(ranked) - place) for place in range(len(ranked))]]
        expected = sklearn.ndcg_score(gains, scores, k=k)
        assert metrics.ndcg_at(ranked, relevant, k) == pytest.approx(expected, abs=1e-9)


# -- gate and samples --


def test_gate_score() -> None:
    score = metrics.gate_score([True, True, False, False], [True, False, True, False])
    assert (score.precision, score.recall, score.escalation_rate, score.n) == (0.5, 0.5, 0.5, 4)
    assert metrics.gate_score([False], [False]).precision is None


def test_calibration_error() -> None:
    # bin .8-.9: stated .8, observed .5, weight 2/3; bin .0-.1: stated 0, observed 0
    assert metrics.calibration_error([0.8, 0.8, 0.0], [True, False, False]) == pytest.approx(0.2)
    assert metrics.calibration_error([1.0], [True]) == 0.0


def test_mean_and_standard_error() -> None:
    result = metrics.mean([1, 2, 3, 4])
    assert result.value == 2.5
    assert result.se == pytest.approx(math.sqrt(5 / 3) / 2)
    assert metrics.mean([]).value is None
    assert metrics.mean([1.0]).se is None


def test_paired_bootstrap() -> None:
    sure = metrics.paired_bootstrap([1.0] * 50, [0.0] * 50, samples=200)
    assert (sure.value, sure.low, sure.high, sure.p) == (1.0, 1.0, 1.0, 0.0)
    a = [float(index % 2) for index in range(100)]
    none = metrics.paired_bootstrap(a, a[::-1], samples=500)
    assert none.value == 0.0
    assert none.low < 0 < none.high
    assert none.p > 0.5
    with pytest.raises(ValueError, match="same questions"):
        metrics.paired_bootstrap([1.0], [1.0, 2.0])


def test_weighted_mean_exposes_a_wrong_numbering() -> None:
    true = {1: 60.0, 2: 70.0, 3: 50.0, 4: 90.0}
    overall = metrics.weighted_mean(true)
    assert overall == pytest.approx((60 * 282 + 70 * 321 + 50 * 96 + 90 * 841) / 1540)
    assert metrics.naming_consistent(true, round(overall, 2))
    renamed = {1: true[4], 2: true[2], 3: true[1], 4: true[3]}  # the numbering of mem0's lineage
    assert not metrics.naming_consistent(renamed, round(overall, 2))
