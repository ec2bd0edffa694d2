"""The sampler's invariants over random corpora, its determinism, its errors, its place among the library's own."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers.base.sampler import (
    DefaultBatchSampler,
    NoDuplicatesBatchSampler,
    ProportionalBatchSampler,
)
from torch.utils.data import ConcatDataset, DataLoader

from st_hybrid import HybridBatchSampler, StepwiseProportionalBatchSampler, parallel_pairs
from st_hybrid.pairs import pair_text

LETTERS = "abcde"


def corpus(groups: list[tuple[str, int, int]], kinds: list[str] | None = None) -> Dataset:
    """Parallel rows: for each group its languages, the number of its passage and the number of its query text.

    Groups of the kind "bitext" have their passages as queries; those of "pair" have the passage in the first language.
    """
    kinds = kinds or ["rows"] * len(groups)
    return Dataset.from_list(
        [
            {
                "id": number,
                "language": language,
                "query": f"passage {passage} in {language}" if kind == "bitext" else f"question {query} in {language}",
                "positive": f"passage {passage} in {languages[0] if kind == 'pair' else language}",
                "passage_language": languages[0] if kind == "pair" else language,
                "document": None if number % 5 == 0 else f"document {number // 4}",
            }
            for number, ((languages, passage, query), kind) in enumerate(zip(groups, kinds, strict=True))
            for language in languages
        ]
    )


def plain(groups: int, languages: str = "abc") -> Dataset:
    """Groups in all languages that share nothing."""
    return corpus([(languages, number, number) for number in range(groups)])


@st.composite
def corpora(draw: st.DrawFn, *, shared: bool) -> Dataset:
    """Uneven languages and partial groups; where ``shared``, with passages and query texts in common."""
    n_groups = draw(st.integers(2, 40))
    groups, kinds = [], []
    for number in range(n_groups):
        languages = "".join(sorted(draw(st.sets(st.sampled_from(LETTERS), min_size=1))))
        passage, query = (draw(st.integers(0, n_groups)) for _ in range(2)) if shared else (number, number)
        groups.append((languages, passage, query))
        kinds.append(draw(st.sampled_from(["rows", "bitext", "pair"])) if shared else "rows")
    return corpus(groups, kinds)


samplings = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 6),
        "world_size": st.integers(1, 3),
        "drop_last": st.booleans(),
        "alpha": st.sampled_from([0, 0.25, 0.5, 0.9, 1]),
        "language_sampling": st.sampled_from(["uniform", "proportional", "mixed"]),
        "same_document": st.booleans(),
        "seed": st.integers(0, 5),
    }
).map(
    lambda settings: (
        settings
        | ({} if settings["alpha"] else {"language_sampling": None})
        | ({"same_document": False} if settings["alpha"] == 1 else {})
    )
)


class Drawn:
    """An epoch, step by step, with what the pairs of each step are."""

    def __init__(self, pairs: Dataset, sampler: HybridBatchSampler) -> None:
        self.batches = list(sampler)
        world = sampler.world_size
        self.steps = [
            list(chain.from_iterable(self.batches[i : i + world])) for i in range(0, len(self.batches), world)
        ]
        numbers = pairs.with_format("numpy")[:]
        keys = pair_text(pairs).keys.with_format("numpy")[:]
        self.query_row, self.positive_row = numbers["query"], numbers["positive"]
        self.language, self.cluster, self.text = keys["language"], keys["cluster"], keys["query_text"]
        self.passage_language = keys["passage_language"]
        self.monolingual = [bool(kind) for kind in self._kinds()]

    def _kinds(self) -> list[bool]:
        kinds = []
        for step in self.steps:
            same = self.language[self.query_row[step]] == self.passage_language[self.positive_row[step]]
            assert same.all() or not same.any(), "a step of two kinds"
            kinds.append(same[0])
        return kinds

    def uses(self, monolingual: bool, rows: str) -> np.ndarray:
        drawn = [
            getattr(self, rows)[step]
            for step, kind in zip(self.steps, self.monolingual, strict=True)
            if kind == monolingual
        ]
        return np.bincount(np.concatenate(drawn) if drawn else [], minlength=len(self.language))


def sample(rows: Dataset, settings: dict[str, Any], epoch: int = 0) -> tuple[HybridBatchSampler, Drawn] | None:
    """The sampler and an epoch of it, or None where the corpus has no such batch (which is an error of its own)."""
    try:
        pairs = parallel_pairs(rows, document_column="document")
        sampler = HybridBatchSampler(pairs, **settings)
    except ValueError as error:
        message = str(error)
        known = ("smaller batch", "no cross-lingual pairs", "no monolingual pairs", "give no pair")
        assert any(part in message for part in known), message
        return None
    sampler.set_epoch(epoch)
    return sampler, Drawn(pairs, sampler)


@given(corpora(shared=True), samplings, st.integers(0, 3))
def test_every_step_obeys_the_invariants(rows: Dataset, settings: dict[str, Any], epoch: int) -> None:
    if (found := sample(rows, settings, epoch)) is None:
        return
    sampler, drawn = found
    for step, monolingual in zip(drawn.steps, drawn.monolingual, strict=True):
        query = drawn.query_row[step]
        assert len(set(drawn.cluster[query])) == len(step)
        assert len(set(drawn.text[query])) == len(step)
        if monolingual and settings["language_sampling"] != "mixed":
            assert len(set(drawn.language[query])) == 1
        if monolingual:
            assert not any(rows[int(row)]["query"] == rows[int(row)]["positive"] for row in query)

    assert len(drawn.batches) == len(sampler)
    assert sum(drawn.monolingual) == round(settings["alpha"] * len(drawn.steps))
    assert sampler.batch_size <= settings["batch_size"]
    assert sampler.batch_size == settings["batch_size"] or not settings["drop_last"]
    full = [len(batch) == sampler.batch_size for batch in drawn.batches]
    rest = drawn.batches[-settings["world_size"] :]
    assert all(full[: -settings["world_size"]])
    assert all(full) or not settings["drop_last"]
    assert len({len(batch) for batch in rest}) == 1  # ranks that gather each other's embeddings need equal batches


@given(corpora(shared=True), samplings, st.integers(0, 2))
def test_ranks_of_a_step_obey_the_rules_together(rows: Dataset, settings: dict[str, Any], epoch: int) -> None:
    """Each rank's batches as accelerate deals them out, put together step by step."""
    if (found := sample(rows, settings, epoch)) is None:
        return
    sampler, drawn = found
    world_size = settings["world_size"]
    ranks = [
        list(BatchSamplerShard(sampler, num_processes=world_size, process_index=rank, even_batches=False))
        for rank in range(world_size)
    ]
    assert {len(batches) for batches in ranks} == {len(sampler) // world_size}
    kinds = []
    for batches in zip(*ranks, strict=True):
        assert len({len(batch) for batch in batches}) == 1
        step = list(chain.from_iterable(batches))
        query, positive = drawn.query_row[step], drawn.positive_row[step]
        assert len(set(drawn.cluster[query])) == len(set(drawn.text[query])) == len(step)
        same = drawn.language[query] == drawn.passage_language[positive]
        assert len(set(same)) == 1
        kinds.append(same[0])
        if same[0] and settings["language_sampling"] != "mixed":
            assert len(set(drawn.language[query])) == 1
    assert sum(kinds) == round(settings["alpha"] * len(kinds))


@given(corpora(shared=True), samplings)
def test_languages_of_monolingual_steps(rows: Dataset, settings: dict[str, Any]) -> None:
    if settings["language_sampling"] == "mixed" or (found := sample(rows, settings)) is None:
        return
    sampler, drawn = found
    step_of = zip(drawn.steps, drawn.monolingual, strict=True)
    visits = Counter(int(drawn.language[drawn.query_row[step[0]]]) for step, monolingual in step_of if monolingual)
    n_steps, streams = sum(drawn.monolingual), sampler._streams[: sampler._monolingual]
    sizes = {int(drawn.language[stream.row[0]]): len(stream.row) for stream in streams}
    for language, size in sizes.items():
        share = 1 / len(sizes) if settings["language_sampling"] == "uniform" else size / sum(sizes.values())
        assert abs(visits[language] - share * n_steps) < 1
    assert set(visits) <= set(sizes)


@given(corpora(shared=False), samplings, st.integers(0, 3))
def test_rows_of_a_language_are_used_evenly(rows: Dataset, settings: dict[str, Any], epoch: int) -> None:
    if (found := sample(rows, settings, epoch)) is None:
        return
    sampler, drawn = found
    n_steps = {True: sum(drawn.monolingual), False: len(drawn.steps) - sum(drawn.monolingual)}
    size = np.bincount(np.array(rows["id"]))[np.array(rows["id"])]
    for monolingual in (True, False):
        uses = drawn.uses(monolingual, "query_row")
        # A cluster is once in a batch, so a group of several rows cannot give more uses than there are batches.
        bound = n_steps[monolingual] * sampler.batch_size * settings["world_size"]
        free = monolingual and settings["language_sampling"] != "mixed"
        if not free and np.ceil(bound / max(1, (size > 1).sum())) * size.max() > max(1, n_steps[monolingual] - 1):
            continue
        for language in range(len(set(rows["language"]))):
            mine = drawn.language == language
            drawable = mine if monolingual else mine & (size > 1)
            if uses[drawable].any():
                assert np.ptp(uses[drawable]) <= 1


def test_rows_of_a_language_are_used_evenly_as_query_and_as_positive() -> None:
    rows = corpus([(LETTERS[: 2 + number % 4], number, number) for number in range(400)])
    found = sample(rows, {"batch_size": 8, "drop_last": True, "alpha": 0.5, "seed": 1})
    assert found is not None
    drawn = found[1]
    for monolingual in (True, False):
        for place in ("query_row", "positive_row"):
            uses = drawn.uses(monolingual, place)
            assert uses.sum() > 400
            assert all(np.ptp(uses[drawn.language == language]) <= 1 for language in range(5))


def test_a_big_cluster_and_a_common_question_take_no_more_than_their_place() -> None:
    """A third of the groups stand on one passage, another third asks one question: both are in nearly every batch."""
    groups = [("abc", 0, number) for number in range(100)] + [("abc", number, 0) for number in range(100, 200)]
    rows = corpus(groups + [("abc", number, number) for number in range(200, 300)])
    found = sample(rows, {"batch_size": 16, "drop_last": True, "alpha": 0.5, "seed": 0})
    assert found is not None
    drawn = found[1]
    for monolingual in (True, False):
        steps = sum(kind == monolingual for kind in drawn.monolingual)
        uses = drawn.uses(monolingual, "query_row")
        other = np.array(rows["id"]) >= 200
        in_cluster, asking = np.array(rows["id"]) < 100, (np.array(rows["id"]) >= 100) & ~other
        assert uses[in_cluster].sum() <= steps * 1.01
        assert uses[asking].sum() <= steps * 3  # three languages, three texts
        assert uses[other].sum() >= steps * (16 - 4)


def short_texts(groups: int, share: float, texts: int) -> Dataset:
    """Groups of which many have a common question, a common answer, or both."""
    rng = np.random.default_rng(0)
    passage, query = (
        np.where(rng.random(groups) < share, rng.integers(texts, size=groups), texts + np.arange(groups))
        for _ in range(2)
    )
    return corpus([("a", int(p), int(q)) for p, q in zip(passage, query, strict=True)])


@pytest.mark.parametrize("batch_size", [8, 64])
def test_rows_with_common_questions_and_answers_are_used(batch_size: int) -> None:
    """Linked by both, half of the rows would be one cluster, which gives a batch a single row."""
    rows = short_texts(4000, 0.3, 100)
    found = sample(rows, {"batch_size": batch_size, "drop_last": True, "alpha": 1, "seed": 0})
    assert found is not None
    drawn = found[1]
    uses = drawn.uses(True, "query_row")
    common = (np.bincount(drawn.text)[drawn.text] > 1) | (np.bincount(drawn.cluster)[drawn.cluster] > 1)
    assert 0.45 < common.mean() < 0.6
    assert uses[common].sum() > 0.95 * common.sum()
    assert (uses == 1).mean() > 0.9
    assert uses.max() <= 3


def test_uses_that_can_be_even_are_even_in_spite_of_common_texts() -> None:
    drawn = sample(short_texts(4000, 0.1, 300), {"batch_size": 8, "drop_last": False, "alpha": 1, "seed": 0})
    assert drawn is not None
    assert (drawn[1].uses(True, "query_row") == 1).all()


def test_partners_of_a_query_change_from_epoch_to_epoch() -> None:
    pairs = parallel_pairs(plain(60, "abcde"))
    sampler = HybridBatchSampler(pairs, 10, True, alpha=0)
    seen = set()
    for epoch in range(8):
        sampler.set_epoch(epoch)
        seen |= {row for batch in sampler for row in batch}
    cross = 60 * 5 * 4
    assert len(seen) > 0.75 * cross  # eight draws of one of four partners each miss one with probability 0.1


def test_cross_lingual_batches_mix_languages() -> None:
    found = sample(plain(400, "abcde"), {"batch_size": 40, "drop_last": True, "alpha": 0, "seed": 0})
    assert found is not None
    drawn = found[1]
    counts = np.stack([np.bincount(drawn.language[drawn.query_row[step]], minlength=5) for step in drawn.steps])
    assert counts.min() > 0
    assert counts.max() < 24  # binomial(40, 1/5): 24 is six standard deviations away


@given(corpora(shared=True), samplings, st.integers(0, 2))
def test_seed_and_epoch_alone_decide(rows: Dataset, settings: dict[str, Any], epoch: int) -> None:
    if (found := sample(rows, settings, epoch)) is None:
        return
    sampler, drawn = found
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    again = parallel_pairs(rows, document_column="document")
    other = HybridBatchSampler(again, **settings, generator=torch.Generator().manual_seed(7))
    for later in (epoch + 1, epoch):
        other.set_epoch(later)
        list(other)
    assert list(other) == drawn.batches == list(sampler)


def test_epochs_and_seeds_differ() -> None:
    pairs = parallel_pairs(plain(50))
    sampler = HybridBatchSampler(pairs, 8, True)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(HybridBatchSampler(pairs, 8, True, seed=1)) != first
    unseeded = [
        HybridBatchSampler(pairs, 8, True, seed=None, generator=torch.Generator().manual_seed(k)) for k in (3, 3, 4)
    ]
    assert list(unseeded[0]) == list(unseeded[1]) != list(unseeded[2])


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_do_not_change_the_batches(workers: int) -> None:
    pairs = parallel_pairs(plain(20))
    sampler = HybridBatchSampler(pairs, 4, False)
    loader = DataLoader(pairs, batch_sampler=sampler, num_workers=workers, collate_fn=list)
    assert [list(batch) for batch in loader] == [[pairs[row] for row in batch] for batch in sampler]


def test_a_subset_of_pairs_is_enough() -> None:
    pairs = parallel_pairs(plain(30)).shuffle(seed=5)
    cross = pairs.filter(lambda pair: pair["label"][1] == 0 and pair["label"][2] == 1)
    batches = list(HybridBatchSampler(cross, 10, True, alpha=0))
    assert sorted(chain.from_iterable(batches)) == list(range(30))
    assert all(cross[row]["label"][1:] == [0, 1] for batch in batches for row in batch)


def test_a_language_with_few_clusters_is_left_out_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    rows = corpus([("abc" if number < 5 else "ab", number, number) for number in range(20)])
    with caplog.at_level(logging.WARNING):
        found = sample(rows, {"batch_size": 6, "drop_last": True, "alpha": 0.5, "seed": 0})
    assert found is not None
    warnings = [record.getMessage() for record in caplog.records if record.name == "st_hybrid.sampler"]
    assert len(warnings) == 1
    assert "leave out c (5), with too few" in warnings[0]
    drawn = found[1]
    for step, monolingual in zip(drawn.steps, drawn.monolingual, strict=True):
        assert not monolingual or 2 not in drawn.language[drawn.query_row[step]]


@pytest.mark.parametrize(
    ("rows", "settings", "error", "message"),
    [
        (plain(9), {"alpha": 1.5}, ValueError, "between 0 and 1, got 1.5"),
        (plain(9), {"alpha": float("nan")}, ValueError, "between 0 and 1, got nan"),
        (plain(9), {"alpha": "half"}, ValueError, "must be a number between 0 and 1, got 'half'"),
        (plain(9), {"alpha": True}, ValueError, "must be a number"),
        (plain(9), {"language_sampling": "evenly"}, ValueError, "language_sampling must be"),
        (
            plain(9),
            {"batch_size": 10, "alpha": 1},
            ValueError,
            "few monolingual pairs: .* at most 9, not batches of 10",
        ),
        (plain(9), {"batch_size": 10, "alpha": 0}, ValueError, "too few cross-lingual pairs: .* at most 9"),
        (plain(9), {"batch_size": 5, "world_size": 2, "alpha": 1}, ValueError, "batches of 5 in each of 2 processes"),
        (
            plain(2),
            {"drop_last": False, "world_size": 3},
            ValueError,
            "most 2, not batches of 4 in each of 3 processes",
        ),
        (
            plain(9),
            {"batch_size": 10, "alpha": 1, "language_sampling": "mixed"},
            ValueError,
            "few monolingual pairs: .* at most 9",
        ),
        (plain(9, "a"), {"alpha": 0.5}, ValueError, r"no cross-lingual pairs, and alpha=0.5.*alpha=1"),
    ],
)
def test_errors(rows: Dataset, settings: dict[str, Any], error: type[Exception], message: str) -> None:
    settings = {"batch_size": 4, "drop_last": True, **settings}
    with pytest.raises(error, match=message):
        HybridBatchSampler(parallel_pairs(rows), **settings)


def test_a_small_data_set_gives_smaller_batches_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    pairs = parallel_pairs(corpus([("ab", number % 3, number) for number in range(9)]))
    sampler = HybridBatchSampler(pairs, 8, False, world_size=1)
    assert [len(batch) for batch in sampler] == [3] * 6
    assert caplog.messages == [
        "The data set has too few monolingual pairs: with distinct passage clusters and query texts they fill steps of "
        "at most 3, not batches of 8. The batches have 3 pairs."
    ]


@pytest.mark.parametrize("drop_last", [True, False])
def test_an_ordinary_data_set_gives_random_batches(caplog: pytest.LogCaptureFixture, drop_last: bool) -> None:
    ordinary = Dataset.from_dict({"sentence1": list(map(str, range(11))), "sentence2": ["b"] * 11, "score": [0.5] * 11})
    sampler = HybridBatchSampler(ordinary, 4, drop_last)
    assert caplog.messages == ["The data set did not come from parallel_pairs: its batches are random."]
    first = list(sampler)
    assert [len(batch) for batch in first] == [4, 4, 3][: len(sampler)]
    assert len(first) == len(sampler) == 3 - drop_last
    assert len(set(chain.from_iterable(first))) == 11 - 3 * drop_last
    sampler.set_epoch(1)
    assert list(sampler) != first == list(HybridBatchSampler(ordinary, 4, drop_last))
    two = HybridBatchSampler(ordinary, 4, drop_last, world_size=2)
    assert [len(batch) for batch in two] == [[4, 4], [4, 4, 1, 1]][not drop_last]


def test_alpha_is_the_share_over_rows_that_serve_one_kind_each(caplog: pytest.LogCaptureFixture) -> None:
    """Few questions in one language and many sentences with translations: half of the batches are of each."""
    questions = [("a", number, number) for number in range(30)]
    sentences = [("abc", number, number) for number in range(100, 200)]
    rows = corpus(questions + sentences, ["rows"] * 30 + ["bitext"] * 100)
    pairs = parallel_pairs(rows)
    assert len(pairs) == 30 + 100 * 6
    sampler = HybridBatchSampler(pairs, 10, False)
    HybridBatchSampler(pairs, 10, False)
    warnings = [record.message for record in caplog.records]
    assert len(warnings) == 1
    assert "of 330 rows, 30 serve monolingual pairs only, 300 cross-lingual pairs only and 0 both" in warnings[0]
    assert "use each of theirs 5.5 times per epoch, cross-lingual ones 0.55 times" in warnings[0]
    drawn = Drawn(pairs, sampler)
    assert (len(drawn.steps), sum(drawn.monolingual)) == (33, 16)
    assert np.ptp(drawn.uses(True, "query_row")[:30]) <= 1
    assert not drawn.uses(True, "query_row")[30:].any()
    assert not drawn.uses(False, "query_row")[:30].any()
    assert np.ptp(drawn.uses(False, "query_row")[30:]) <= 1


def test_a_batch_of_the_same_documents() -> None:
    """Documents of 8 sentences, in batches of 16: most of a batch is of two or three of them, not of sixteen."""
    rows = corpus([("abcd", number, number) for number in range(160)], ["bitext"] * 160)
    rows = rows.remove_columns("document").add_column("document", [number // 8 for number in rows["id"]])
    pairs = parallel_pairs(rows, document_column="document")
    document = np.array(rows["document"])
    drawn = Drawn(pairs, HybridBatchSampler(pairs, 16, True, alpha=0, same_document=True))
    assert np.mean([len(set(document[drawn.query_row[step]])) for step in drawn.steps]) < 3
    assert all(len(set(drawn.cluster[drawn.query_row[step]])) == 16 for step in drawn.steps)
    assert np.ptp(drawn.uses(False, "query_row")) <= 1
    apart = Drawn(pairs, HybridBatchSampler(pairs, 16, True, alpha=0))
    assert np.mean([len(set(document[apart.query_row[step]])) for step in apart.steps]) > 8


@given(st.integers(0, 9), st.sampled_from([0.2, 0.5, 0.75]), st.integers(2, 9))
def test_both_kinds_in_each_batch(seed: int, alpha: float, batch_size: int) -> None:
    pairs = parallel_pairs(plain(30))
    sampler = HybridBatchSampler(pairs, batch_size, False, alpha=alpha, homogeneous=False, seed=seed)
    numbers, cluster = pairs.with_format("numpy")[:], pair_text(pairs).keys.with_format("numpy")["cluster"]
    monolingual = numbers["query"] == numbers["positive"]
    batches = list(sampler)
    assert len(batches) == len(sampler)
    drawn = list(chain.from_iterable(batches))
    assert monolingual[drawn].sum() == round(alpha * len(drawn))
    assert len({int(kind) for batch in batches for kind in monolingual[batch]}) == 2
    for batch in batches:
        assert len(set(cluster[numbers["query"][batch]])) == len(batch)
    for kind in (True, False):
        uses = np.bincount(numbers["query"][[pair for pair in drawn if monolingual[pair] == kind]], minlength=90)
        assert np.ptp(uses) <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1, "same_document": True}, "same_document has no effect with alpha=1"),
        ({"same_document": True}, "The data set knows no documents"),
        ({"alpha": 0, "homogeneous": False}, "homogeneous has no effect with alpha=0"),
        ({"homogeneous": False, "language_sampling": "mixed"}, "language_sampling has no effect with homogeneous"),
    ],
)
def test_options_without_effect(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HybridBatchSampler(parallel_pairs(plain(9)), 4, True, **settings)


def test_sentences_and_their_translations_have_no_monolingual_pairs() -> None:
    pairs = parallel_pairs(corpus([("abc", number, number) for number in range(9)], ["bitext"] * 9))
    with pytest.raises(ValueError, match=r"has no monolingual pairs, and alpha=0\.5 asks for them.*set alpha=0"):
        HybridBatchSampler(pairs, 4, True)
    assert len(list(HybridBatchSampler(pairs, 4, True, alpha=0))) == 6


def test_the_first_pairs_alone_are_monolingual() -> None:
    pairs = parallel_pairs(plain(20))
    with pytest.raises(ValueError, match=r"The data set has no cross-lingual pairs.* Shuffle pairs before you select"):
        HybridBatchSampler(pairs.select(range(40)), 4, False)
    assert len(list(HybridBatchSampler(pairs.shuffle(seed=0).select(range(60)), 4, False))) > 1


def test_errors_of_other_data_sets() -> None:
    with pytest.raises(ValueError, match="parallel_pairs"):
        HybridBatchSampler(plain(9), 4, True)
    with pytest.raises(ValueError, match=r"IterableDataset.*parallel_pairs"):
        HybridBatchSampler(plain(9).to_iterable_dataset(), 4, True)  # type: ignore[arg-type]
    for spoilt in (parallel_pairs(plain(9)).with_format(None), parallel_pairs(plain(9)).map(dict, batched=True)):
        with pytest.raises(ValueError, match="parallel_pairs"):
            HybridBatchSampler(spoilt, 4, True)


def test_it_is_a_sampler_of_the_library() -> None:
    assert issubclass(HybridBatchSampler, DefaultBatchSampler)
    sampler = HybridBatchSampler(parallel_pairs(plain(9)), 4, False, ["label"], torch.Generator(), 3)
    assert (sampler.batch_size, sampler.drop_last, sampler.seed, sampler.epoch) == (4, False, 3, 0)


@pytest.mark.parametrize("multi", [ProportionalBatchSampler, StepwiseProportionalBatchSampler])
def test_data_sets_of_a_dict_are_drawn_by_size(multi: type[ProportionalBatchSampler]) -> None:
    parts = [parallel_pairs(plain(40)), parallel_pairs(plain(20))]
    samplers = [HybridBatchSampler(part, 5, True) for part in parts]
    both = multi(ConcatDataset(parts), samplers, torch.Generator(), 0)  # type: ignore[arg-type]
    batches = list(both)
    assert len(batches) == len(both) == 36
    assert sum(batch[0] < len(parts[0]) for batch in batches) == 24
    drawn = Counter(row for batch in batches for row in batch)
    alone = Counter(
        row + offset
        for sampler, offset in zip(samplers, (0, len(parts[0])), strict=True)
        for batch in sampler
        for row in batch
    )
    assert drawn == alone


def test_a_sampler_that_falls_short_of_its_length_ends_the_epoch_early() -> None:
    rows = Dataset.from_dict({"query": ["same"] * 6, "positive": [f"other {number}" for number in range(6)]})
    short = NoDuplicatesBatchSampler(rows, 3, True)
    assert len(short) == 2
    both = StepwiseProportionalBatchSampler(ConcatDataset([rows]), [short], torch.Generator(), 0)  # type: ignore[arg-type,list-item]
    assert list(both) == []


def test_a_partial_is_what_the_trainer_takes() -> None:
    sampler = functools.partial(HybridBatchSampler, alpha=1)(
        parallel_pairs(plain(9)), batch_size=3, drop_last=False, valid_label_columns=None, generator=None, seed=0
    )
    assert sampler.alpha == 1
