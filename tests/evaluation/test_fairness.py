from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peer_measure import PEER, PEEREvaluator
from scipy.stats import chi2, kruskal, spearmanr

from st_hybrid.evaluation import RetrievalCollection, score_embeddings, score_queries
from st_hybrid.evaluation.fairness import language_shares, peer
from st_hybrid.evaluation.ranking import rank_passages
from st_hybrid.evaluation.results import MIXED_MEASURES

from .random_collections import build, by_rank, collections, score_matrix, score_matrix_queries

seeds = st.integers(0, 2**32 - 1)


def relevance(collection: RetrievalCollection) -> np.ndarray:
    relevant = np.zeros((len(collection.queries), len(collection.passages)), dtype=bool)
    relevant[collection.relevant_queries, collection.relevant_passages] = True
    return relevant


def random_scores(collection: RetrievalCollection, seed: int, distinct: int | None = None) -> np.ndarray:
    """Scores of whole numbers: all different within a query, or so many different ones."""
    rng = np.random.default_rng(seed)
    shape = len(collection.queries), len(collection.passages)
    if distinct is not None:
        return rng.integers(0, distinct, shape).astype(np.float32)
    return rng.permuted(np.tile(np.arange(shape[1], dtype=np.float32), (shape[0], 1)), axis=1)


def peer_by_package(
    collection: RetrievalCollection,
    matrix: np.ndarray,
    judgements: tuple[int, int],
    weights: dict[int, float],
    k: int = 20,
) -> list[float]:
    """PEER of each query, where a passage is judged the first number if it is relevant, or else the second."""
    languages = {f"c{c}": collection.languages[code] for c, code in enumerate(collection.passage_languages)}
    relevant = relevance(collection)
    run = {f"q{q}": {f"c{c}": float(score) for c, score in enumerate(row)} for q, row in enumerate(matrix)}
    qrels = {f"q{q}": {f"c{c}": judgements[not hit] for c, hit in enumerate(row)} for q, row in enumerate(relevant)}
    measure = PEER(weights=weights, lang_mapping=languages) @ k
    # ir_measures.iter_calc does no more than this, but fails with ir-measures from 0.3.5 on: peer-measure 0.0.1 looks
    # for a function that these no longer have.
    evaluator = PEEREvaluator([measure], qrels, {0: [(k, measure)]}, {0: languages})
    values = {metric.query_id: float(metric.value) for metric in evaluator.iter_calc(run)}
    return [values[query] for query in run]


def shares_by_hand(scores: np.ndarray, languages: list[str], k: int) -> dict[str, float]:
    """Fill the places one score after the other; where a score has too many passages, each gets a part of a place."""
    shares: Counter[str] = Counter()
    left = k = min(k, len(scores))
    for score in sorted(set(scores.tolist()), reverse=True):
        holders = [language for language, own in zip(languages, scores, strict=True) if own == score]
        part = min(1.0, left / len(holders))
        for language in holders:
            shares[language] += part / k
        left -= min(left, len(holders))
    return dict(shares)


@given(collection=collections, seed=seeds, distinct=st.integers(1, 40))
def test_shares_equal_brute_force_with_any_ties(collection: RetrievalCollection, seed: int, distinct: int) -> None:
    matrix = random_scores(collection, seed, distinct)
    codes = [collection.languages[code] for code in collection.passage_languages]
    found = score_matrix_queries(matrix, collection)
    for row, scores in zip(found.top_10_languages, matrix, strict=True):
        expected = shares_by_hand(scores, codes, 10)
        assert dict(zip(collection.languages, row, strict=True)) == pytest.approx(
            {language: expected.get(language, 0.0) for language in collection.languages}, abs=1e-12
        )
    means = found.summary().top_10_languages
    assert list(means) == [language for language, count in collection.query_counts.items() if count]
    for code, language in enumerate(collection.languages):
        if language in means:
            own = found.top_10_languages[collection.query_languages == code].mean(axis=0)
            assert list(means[language].values()) == pytest.approx(own.tolist())
            assert sum(means[language].values()) == pytest.approx(1)


def test_a_model_that_cannot_tell_texts_apart_prefers_no_language() -> None:
    collection = build(seed=1, languages=4, questions=9, filler=30)
    queries, passages = (np.ones((len(texts), 3)) for texts in (collection.queries, collection.passages))
    scores = score_embeddings(queries, passages, collection)
    pool = {language: count / len(passages) for language, count in collection.passage_counts.items()}
    assert len(set(pool.values())) > 1
    for shares in scores.top_10_languages.values():
        assert shares == pytest.approx(pool)
    assert scores.multilingual.peer_at_20 == 1


def test_a_model_that_sees_nothing_but_languages() -> None:
    collection = build(seed=2, languages=3, questions=20, filler=60)
    queries, passages = (np.eye(3)[codes] for codes in (collection.query_languages, collection.passage_languages))
    scores = score_embeddings(queries, passages, collection)
    for language, shares in scores.top_10_languages.items():
        assert shares[language] == 1
    assert scores.multilingual.peer_at_20 < 0.001
    for language in collection.languages:
        assert scores.per_pair[f"{language}-multi"].peer_at_20 < 0.001


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning:peer_measure")
@given(collection=collections, seed=seeds)
def test_peer_agrees_with_the_package(collection: RetrievalCollection, seed: int) -> None:
    matrix = random_scores(collection, seed)
    found = score_matrix_queries(matrix, collection).peer_at_20
    expected = peer_by_package(collection, matrix, (2, 1), {1: 1.0, 2: 0.0})
    rest = [collection.passage_languages[~row] for row in relevance(collection)]
    for ours, theirs, languages in zip(found, expected, rest, strict=True):
        if len(set(languages.tolist())) < 2:
            assert np.isnan(ours)  # there is nothing to compare
        elif np.isnan(theirs):  # 0 times the NaN of the relevant ones, which happen to have equal ranks in the package
            assert 0 <= ours <= 1
        else:
            assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("k", [1, 5, 10, 20])
def test_any_cutoff_agrees_with_the_package(k: int) -> None:
    collection = build(seed=11, languages=4, questions=12, filler=200)
    matrix = random_scores(collection, seed=k)
    eye = np.eye(matrix.shape[1], dtype=np.float32)
    top = rank_passages(matrix, eye, collection, "dot").top
    expected = peer_by_package(collection, matrix, (2, 1), {1: 1.0, 2: 0.0}, k=k)
    assert len(set(expected)) > 1
    assert peer(top, collection, k).tolist() == pytest.approx(expected, abs=1e-9)
    first = np.argsort(-matrix, axis=1)[:, :k]
    shares = language_shares(top, collection, k)
    for code in range(4):
        assert shares[:, code] == pytest.approx((collection.passage_languages[first] == code).mean(axis=1))
    for deeper in (0, 21):
        with pytest.raises(ValueError, match=f"first 21 passages of each query are known, too few for k = {deeper}"):
            peer(top, collection, deeper)


@given(collection=collections, seed=seeds, distinct=st.integers(1, 12))
def test_tied_passages_have_the_mean_of_their_ranks(collection: RetrievalCollection, seed: int, distinct: int) -> None:
    matrix = random_scores(collection, seed, distinct)
    found = score_matrix_queries(matrix, collection).peer_at_20
    for q, (scores, relevant) in enumerate(zip(matrix, relevance(collection), strict=True)):
        # By place: its rank, whether it is among the first 20; then the mean over the places of a tie.
        place = np.arange(1, len(scores) + 1)
        order = np.argsort(-scores, kind="stable")
        inside = np.empty(len(scores))
        for score in set(scores.tolist()):
            inside[scores == score] = (place[scores[order] == score] <= 20).mean()
        rest = ~relevant
        tail = rest.sum() + ((1 - inside[rest]).sum() + 1) / 2
        ranks = np.empty(len(scores))
        for score in set(scores.tolist()):
            places = place[scores[order] == score]
            ranks[scores == score] = np.where(places <= 20, places, tail).mean()
        groups = [ranks[rest & (collection.passage_languages == code)] for code in range(len(collection.languages))]
        groups = [group for group in groups if len(group)]
        if len(groups) < 2:
            assert np.isnan(found[q])
            continue
        values = np.concatenate(groups)
        between = sum(len(group) * (group.mean() - values.mean()) ** 2 for group in groups)
        overall = ((values - values.mean()) ** 2).sum()
        flat = overall < 1e-9
        expected = 1 if flat else chi2.sf((len(values) - 1) * between / overall, len(groups) - 1)
        # Near 0 the p-value moves with the root of the statistic: a rounding error of 1e-15 becomes 4e-8.
        assert found[q] == pytest.approx(expected, abs=1e-6)


def test_without_a_tail_and_with_nothing_relevant_between_it_is_the_textbook_test() -> None:
    collection = build(seed=3, languages=3, questions=2, filler=8)
    relevant = relevance(collection)
    matrix = np.where(relevant, -1.0, random_scores(collection, seed=0).astype(float))  # the relevant ones come last
    found = score_matrix_queries(matrix.astype(np.float32), collection).peer_at_20
    assert len(collection.passages) <= 20
    assert len(found) > 1
    for value, scores, row in zip(found, matrix, relevant, strict=True):
        groups = [scores[~row & (collection.passage_languages == code)] for code in range(3)]
        assert value == pytest.approx(kruskal(*[group for group in groups if len(group)]).pvalue)


def test_why_the_weight_lies_on_what_is_not_relevant() -> None:
    """Two rankings: by language, and mixed. With other judgements or weights the package sees no bias in the first."""
    languages = np.arange(90) // 30
    collection = RetrievalCollection(
        name="one relevant passage a language",
        languages=("en", "de", "el"),
        query_ids=["q"],
        queries=["?"],
        query_languages=np.array([0]),
        passage_ids=[f"c{number}" for number in range(90)],
        passages=[""] * 90,
        passage_languages=languages,
        relevant_queries=np.zeros(3, dtype=int),
        relevant_passages=np.array([4, 34, 64]),
    )
    sorted_by_language = -np.arange(90, dtype=np.float32)[None]
    mixed = -(np.arange(90, dtype=np.float32) % 30 * 3 + languages)[None]

    relevant_only = {0: 0.0, 1: 1.0}
    assert peer_by_package(collection, sorted_by_language, (1, 0), relevant_only) == pytest.approx(
        peer_by_package(collection, mixed, (1, 0), relevant_only)
    )
    # Of the first 20 all are English, and a test of one group is passed.
    unjudged = {0: 1.0, 1: 0.0}
    assert peer_by_package(collection, sorted_by_language, (1, 0), unjudged) == [1.0]

    assert score_matrix(sorted_by_language, collection).multilingual.peer_at_20 < 1e-5
    assert score_matrix(mixed, collection).multilingual.peer_at_20 > 0.9


def in_question(collection: RetrievalCollection, q: int) -> tuple[np.ndarray, np.ndarray]:
    """The passages that are relevant to a query in its own language, and in another."""
    own = collection.passage_languages == collection.query_languages[q]
    return relevance(collection)[q] & own, relevance(collection)[q] & ~own


@given(collection=collections, seed=seeds, distinct=st.integers(1, 40))
def test_foreign_recall_and_preference_equal_brute_force_with_any_ties(
    collection: RetrievalCollection, seed: int, distinct: int
) -> None:
    matrix = random_scores(collection, seed, distinct)
    found = score_matrix_queries(matrix, collection)
    for q, scores in enumerate(matrix):
        own, foreign = in_question(collection, q)
        first = np.lexsort((foreign, -scores))[:20]  # in a tie, those in question come last
        recall = foreign[first].sum() / foreign.sum() if foreign.any() else np.nan
        assert found.foreign_recall_at_20[q] == pytest.approx(recall, nan_ok=True)
        leaders = (own | foreign) & (scores == scores[own | foreign].max(initial=-np.inf))
        preference = (leaders & own).sum() / leaders.sum() if own.any() and foreign.any() else np.nan
        assert found.language_preference_rate[q] == pytest.approx(preference, nan_ok=True)


@given(collection=collections, seed=seeds)
def test_rank_correlation_is_spearman_s_over_the_translations(collection: RetrievalCollection, seed: int) -> None:
    matrix = random_scores(collection, seed) - len(collection.passages) // 2
    found = score_matrix_queries(matrix, collection).rank_correlation
    for q, query in enumerate(collection.query_ids):
        others = [other for other, identifier in enumerate(collection.query_ids) if identifier == query and other != q]
        defined = others and matrix.shape[1] > 1
        expected = np.mean([spearmanr(matrix[q], matrix[o]).statistic for o in others]) if defined else np.nan
        assert found[q] == pytest.approx(expected, abs=1e-9, nan_ok=True)


@given(collection=collections, seed=seeds, distinct=st.integers(1, 40))
def test_measures_of_mixed_languages_stay_in_their_range(
    collection: RetrievalCollection, seed: int, distinct: int
) -> None:
    scores = score_matrix(random_scores(collection, seed, distinct), collection)
    for name, low in (("foreign_recall_at_20", 0), ("language_preference_rate", 0), ("rank_correlation", -1)):
        values = [getattr(scores, name), *(getattr(one, name) for one in scores.per_pair.values())]
        assert all(value is None or low - 1e-12 <= value <= 1 + 1e-12 for value in values)
        assert getattr(scores.multilingual, name) is None  # it stands beside rank_distance


@given(collection=collections, seed=seeds, distinct=st.integers(1, 40))
def test_names_of_languages_are_of_no_consequence(collection: RetrievalCollection, seed: int, distinct: int) -> None:
    matrix = random_scores(collection, seed, distinct)
    code = np.random.default_rng(seed).permutation(len(collection.languages))
    other = replace(
        collection,
        languages=[collection.languages[number] for number in np.argsort(code)],
        query_languages=code[collection.query_languages],
        passage_languages=code[collection.passage_languages],
    )
    first, second = score_matrix(matrix, collection), score_matrix(matrix, other)
    for name in MIXED_MEASURES:
        assert getattr(second, name) == pytest.approx(getattr(first, name))


def test_measures_of_mixed_languages_of_models_that_are_blind() -> None:
    """One that gives all texts the same vector, one that sees nothing but languages, and one that sees none."""
    collection = build(seed=2, languages=3, questions=20, filler=90, whole=True)
    queries, passages = (np.ones((len(texts), 3)) for texts in (collection.queries, collection.passages))
    constant = score_embeddings(queries, passages, collection)
    relevant = [in_question(collection, q) for q in range(60)]
    neutral = np.mean([own.sum() / (own | foreign).sum() for own, foreign in relevant])
    assert constant.foreign_recall_at_20 == 0
    assert constant.language_preference_rate == pytest.approx(neutral)
    assert constant.rank_correlation == 0

    queries, passages = (np.eye(3)[codes] for codes in (collection.query_languages, collection.passage_languages))
    languages = score_embeddings(queries, passages, collection)
    assert languages.foreign_recall_at_20 == 0
    assert languages.language_preference_rate == 1
    assert languages.rank_correlation is not None
    assert languages.rank_correlation < -0.2

    # Translations of a question get one vector, and the passages of all languages random ones.
    rng = np.random.default_rng(0)
    _, question = np.unique(collection.query_ids, return_inverse=True)
    aligned = score_embeddings(
        rng.standard_normal((20, 8))[question], rng.standard_normal((len(collection.passages), 8)), collection
    )
    assert aligned.rank_correlation == pytest.approx(1)
    assert aligned.language_preference_rate == pytest.approx(neutral, abs=1e-9)


def test_what_mixed_languages_need() -> None:
    """Nothing is 0 that cannot be measured: without translations of queries, or of passages, there is no value."""
    one = build(seed=1, languages=1, questions=4)
    scores = score_matrix(random_scores(one, 0), one)
    assert [getattr(scores, name) for name in MIXED_MEASURES] == [None] * 4

    languages = {"p1": "de", "p2": "en", "p3": "en"}
    apart = RetrievalCollection.from_dicts(
        queries={"q1": "eins", "q2": "two"},
        corpus=dict.fromkeys(languages, "text"),
        relevant_docs={"q1": {"p2"}, "q2": {"p3"}},
        query_languages={"q1": "de", "q2": "en"},
        passage_languages=languages,
    )
    scores = score_matrix(np.arange(6, dtype=np.float32).reshape(2, 3), apart)
    assert scores.foreign_recall_at_20 == 1  # of q1 alone
    assert [scores.rank_distance, scores.language_preference_rate, scores.rank_correlation] == [None] * 3


def test_scores_of_double_precision_rank_alike() -> None:
    collection = build(seed=4, languages=3, questions=12, filler=50)
    matrix = random_scores(collection, seed=1, distinct=30) - 15
    doubles = score_queries(
        matrix,
        np.eye(matrix.shape[1], dtype=np.float32),
        collection,
        similarity=lambda queries, passages: -0.0 + (queries @ passages.T).double(),
    )
    assert by_rank(doubles.summary()) == by_rank(score_matrix(matrix, collection))
