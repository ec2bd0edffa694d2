"""The hard rows: all facts are known, questions have near answers, texts are as written."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from datasets import DatasetDict

from st_hybrid import parallel_pairs
from st_hybrid.study.cldr import LANGUAGES
from st_hybrid.study.facts import KINDS, fact_rows


@pytest.fixture(scope="module")
def rows() -> DatasetDict:
    return fact_rows(groups=1000, seed=0)


def facts_of(rows: DatasetDict, part: str) -> Counter[str]:
    """How many groups ask for each fact."""
    return Counter(fact for group in set(rows[part]["id"]) for fact in group.split("-"))


def test_every_group_has_a_row_in_every_language(rows: DatasetDict) -> None:
    for part, groups in (("train", 700), ("test", 300)):
        assert len(set(rows[part]["id"])) == groups
        assert Counter(rows[part]["language"]) == dict.fromkeys(LANGUAGES, groups)
    assert not {*rows["train"]["id"]} & {*rows["test"]["id"]}


def test_training_asks_for_all_facts_equally_often(rows: DatasetDict) -> None:
    uses = facts_of(rows, "train")
    assert max(uses.values()) - min(uses.values()) <= 2  # a round leaves out held-out pairs, and one of an odd number
    assert facts_of(rows, "test").keys() <= uses.keys()
    assert {fact.split(".")[1] for fact in uses} == set(KINDS)


def test_a_held_out_question_has_passages_that_answer_half_of_it(rows: DatasetDict) -> None:
    halves = facts_of(rows, "test")
    near = [sum(halves[fact] - 1 for fact in group.split("-")) for group in set(rows["test"]["id"])]
    assert min(near) >= 4
    assert sum(near) / len(near) > 6


def test_queries_are_distinct_and_groups_are_passage_clusters_of_their_own(rows: DatasetDict) -> None:
    assert len(set(rows["train"]["query"])) == len(rows["train"])
    pairs = parallel_pairs(rows["train"])
    assert len({cluster for cluster, _, _ in pairs[: 700 * 11]["label"]}) == 700


def test_a_known_fact_reads_as_written() -> None:
    rows = fact_rows(groups=400, kinds=["city"], codes=0)
    texts = [row for part in rows.values() for row in part if row["id"].startswith("JP.city-")]
    assert {row["query"].split(" ", 2)[0] for row in texts if row["language"] == "de"} == {"Japan:"}
    assert {row["positive"].split(".")[0] for row in texts if row["language"] == "zh"} == {"东京"}
    assert {row["query"].split("?")[0] for row in texts if row["language"] == "en"} == {"Japan: city"}


def test_codes_are_the_same_in_all_languages() -> None:
    rows = fact_rows(groups=600, codes=1)["train"]
    assert all(row["query"].startswith(row["id"].partition(".")[0] + ": ") for row in rows)


def test_the_seed_decides() -> None:
    first, again, other = (fact_rows(groups=600, seed=seed) for seed in (3, 3, 4))
    assert first["train"][:] == again["train"][:]
    assert first["test"][:] == again["test"][:]
    assert set(first["train"]["id"]) != set(other["train"]["id"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 100}, "groups must be between .* got 100"),
        ({"groups": 1_000_000}, "groups must be between"),
        ({"kinds": []}, "kinds must be some of currency, language, city, got none"),
        ({"kinds": ["river"]}, "got river"),
        ({"codes": 1.5}, "codes must be between 0 and 1"),
        ({"held_out": 1.0}, "held_out above 0 and below 1"),
        ({"related": 300}, r"related at most \d+, got"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fact_rows(**options)
