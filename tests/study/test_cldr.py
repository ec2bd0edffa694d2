"""The rows of the quickstart: parallel, distinct, and held out as combinations of known names."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from datasets import DatasetDict, concatenate_datasets

from st_hybrid import parallel_pairs
from st_hybrid.study.cldr import LANGUAGES, cldr_rows


@pytest.fixture(scope="module")
def rows() -> DatasetDict:
    return cldr_rows(groups=1000, seed=0)


def test_every_group_has_a_row_in_every_language(rows: DatasetDict) -> None:
    assert len(LANGUAGES) >= 9
    for part, groups in (("train", 800), ("test", 200)):
        assert len(rows[part]) == groups * len(LANGUAGES)
        pairs = Counter(zip(rows[part]["id"], rows[part]["language"], strict=True))
        assert set(pairs.values()) == {1}
        assert Counter(rows[part]["language"]) == dict.fromkeys(LANGUAGES, groups)


def test_held_out_groups_are_new_combinations_of_known_names(rows: DatasetDict) -> None:
    train, test = set(rows["train"]["id"]), set(rows["test"]["id"])
    assert not train & test
    for place in (0, 1):
        assert {group.split("-")[place] for group in test} <= {group.split("-")[place] for group in train}


def test_texts_are_distinct_and_filled_in(rows: DatasetDict) -> None:
    for column in ("query", "positive"):
        texts = [*rows["train"][column], *rows["test"][column]]
        assert len(set(texts)) == len(texts)
        assert not any(re.search(r"[{}]|None", text) for text in texts)
    assert not set(rows["train"]["query"]) & set(rows["train"]["positive"])


def test_each_group_is_a_passage_cluster_of_its_own(rows: DatasetDict) -> None:
    labels = parallel_pairs(rows["test"])[: len(rows["test"])]["label"]
    assert len({cluster for cluster, _, _ in labels}) == 200


def test_a_known_fact_reads_as_written(rows: DatasetDict) -> None:
    every = concatenate_datasets([*rows.values()])  # which combinations are drawn depends on the version of babel
    texts = {(row["id"], row["language"]): row for row in every}
    japan = next(group for group, _ in texts if group.startswith("JP-"))
    assert texts[japan, "en"]["query"].startswith("Two stops on a trip: Japan, then ")
    assert texts[japan, "en"]["query"].endswith(
        ". Which currency is used at the first, and which language is most spoken at the second?"
    )
    assert texts[japan, "es"]["positive"].startswith("En la primera parada se paga con esta moneda: yen japonés. ")
    india = next(group for group, _ in texts if group.endswith("-IN"))
    assert ", then India. " in texts[india, "en"]["query"]
    assert texts[india, "es"]["positive"].endswith(" En la segunda se habla sobre todo hindi.")


def test_the_seed_decides() -> None:
    first, again, other = (cldr_rows(groups=200, seed=seed) for seed in (3, 3, 4))
    assert first["train"][:] == again["train"][:]
    assert first["test"][:] == again["test"][:]
    assert first["train"]["id"] != other["train"]["id"]


@pytest.mark.parametrize(
    ("groups", "message"), [(1_000_000, "combinations"), (50, "more than 50"), (0, "combinations")]
)
def test_numbers_of_groups_out_of_range_are_refused(groups: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cldr_rows(groups=groups)
