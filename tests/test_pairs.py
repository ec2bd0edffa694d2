"""Pairs: what each holds, what they cost, how they are stored, and every error."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, DatasetDict, concatenate_datasets, interleave_datasets
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler
from torch.utils.data import DataLoader

from st_hybrid import load_pairs, parallel_pairs, save_pairs
from st_hybrid.pairs import pair_text


def row(group: int, language: str, **texts: str) -> dict[str, Any]:
    texts = {"query": f"question {group} {language}", "positive": f"answer {group} {language}"} | texts
    return {"id": group, "language": language, **texts}


def rows_of(groups: Iterable[str]) -> Dataset:
    """One group for each string of one-letter languages."""
    return Dataset.from_list([row(number, letter) for number, letters in enumerate(groups) for letter in letters])


corpora = st.lists(
    st.tuples(st.sets(st.sampled_from("abcd"), min_size=1), st.integers(0, 5)), min_size=1, max_size=12
).map(
    lambda groups: Dataset.from_list(
        [
            row(number, language, positive=f"passage {passage} {language if passage else ''}")
            for number, (languages, passage) in enumerate(groups)
            for language in sorted(languages)
        ]
    )
)


def test_a_pair_for_every_row_and_every_ordered_pair_of_languages() -> None:
    rows = rows_of(["ab", "abc", "c"])
    pairs = parallel_pairs(rows)
    read = {(pair["query"], pair["positive"]) for pair in pairs}
    wanted = {(one["query"], other["positive"]) for one in rows for other in rows if one["id"] == other["id"]}
    assert read == wanted
    assert len(pairs) == len(wanted)
    assert [pair["positive"] for pair in pairs.select(range(len(rows)))] == rows["positive"][:]


@given(corpora)
def test_label_names_cluster_and_languages(rows: Dataset) -> None:
    pairs = parallel_pairs(rows)
    languages = sorted(set(rows["language"]))
    language_of = {text: one["language"] for one in rows for text in [one["query"]]}
    for pair in pairs:
        assert list(pair) == ["query", "positive", "label"]
        cluster, query_language, passage_language = pair["label"]
        assert languages[query_language] == language_of[pair["query"]]
        assert 0 <= cluster < len(rows)
        assert pair["positive"].split()[-1] in (languages[passage_language], "0")


def test_negatives_go_where_their_positive_goes() -> None:
    rows = Dataset.from_list(
        [row(0, language, negative_1=f"near {language}", negative_2=f"far {language}") for language in "ab"]
    )
    for pair in parallel_pairs(rows):
        language = pair["positive"][-1]
        assert pair["negative_1"] == f"near {language}"
        assert pair["negative_2"] == f"far {language}"
    assert list(parallel_pairs(rows, negative_columns=["negative_2"])[0]) == [
        "query",
        "positive",
        "negative_2",
        "label",
    ]


def test_negatives_may_follow_the_query() -> None:
    rows = Dataset.from_list(
        [
            row(0, "a", negative="p1 a"),
            row(0, "b", negative="p2 b"),
            row(1, "a", positive="p1 a", negative="p2 b"),
            row(2, "b", positive="p2 b", negative="p1 a"),
        ]
    )
    of_positive = {pair["positive"]: pair["label"][0] for pair in parallel_pairs(rows)}
    negative_of = dict(zip(rows["query"], rows["negative"], strict=True))
    pairs = parallel_pairs(rows, negatives_follow="query")
    assert len(pairs) == 6
    for pair in pairs:
        assert pair["negative"] == negative_of[pair["query"]]
        assert pair["label"][3] == of_positive[pair["negative"]]
    crossed = [pair for pair in pairs if pair["label"][1] != pair["label"][2]]
    assert [pair["negative"][-1] == pair["query"][-1] != pair["positive"][-1] for pair in crossed] == [True, True]
    with pytest.raises(ValueError, match="negatives_follow must be 'positive' or 'query', got 'both'"):
        parallel_pairs(rows, negatives_follow="both")  # type: ignore[arg-type]


def test_labels_name_the_clusters_of_negatives() -> None:
    rows = Dataset.from_list(
        [
            row(0, "en", negative_1="p1 de", negative_2="elsewhere"),
            row(0, "de", negative_1="p2 de", negative_2="p0 en"),
            row(1, "de", positive="p1 de", negative_1="p2 de", negative_2="elsewhere"),
            row(2, "de", positive="p2 de", negative_1="p0 en", negative_2="p1 de"),
        ]
    )
    rows = rows.map(lambda row: {"positive": "p0 en"} if row["id"] == 0 and row["language"] == "en" else {})
    pairs = parallel_pairs(rows)
    of_positive = {pair["positive"]: pair["label"][0] for pair in pairs} | {"elsewhere": -1}
    assert len(set(of_positive.values())) == 4
    for pair in pairs:
        cluster, _, _, first, second = pair["label"]
        assert [cluster, first, second] == [
            of_positive[pair[name]] for name in ("positive", "negative_1", "negative_2")
        ]
    chosen = parallel_pairs(rows, negative_columns=["negative_2"])
    assert [pair["label"][3:] for pair in chosen] == [pair["label"][4:] for pair in pairs]


def test_column_names_are_parameters() -> None:
    rows = rows_of(["ab"]).rename_columns({"id": "key", "language": "lang", "query": "question", "positive": "answer"})
    pairs = parallel_pairs(
        rows, id_column="key", language_column="lang", query_column="question", positive_column="answer"
    )
    assert list(pairs[0]) == ["query", "positive", "label"]
    sentences = rows.remove_columns("question").rename_column("answer", "text")
    pairs = parallel_pairs(
        sentences, id_column="key", language_column="lang", query_column="text", positive_column="text"
    )
    # A sentence is no question on itself, so there are the two pairs of translations only.
    assert len(pairs) == 2
    assert (pairs[0]["query"], pairs[0]["positive"]) == ("answer 0 a", "answer 0 b")


@given(st.lists(st.integers(2, 6), min_size=1, max_size=8), st.integers(1, 6), st.integers(0, 3))
def test_partners_bound_the_pairs_and_use_each_row_of_a_group_equally(
    sizes: list[int], partners: int, seed: int
) -> None:
    rows = rows_of("abcdef"[:size] for size in sizes)
    pairs = parallel_pairs(rows, partners=partners, seed=seed).with_format("numpy")[:]
    cross = pairs["query"] != pairs["positive"]
    group = np.array(rows["id"])
    wanted = np.minimum(np.array(sizes) - 1, partners)[group]
    assert (np.bincount(pairs["query"][cross], minlength=len(rows)) == wanted).all()
    assert (np.bincount(pairs["positive"][cross], minlength=len(rows)) == wanted).all()
    assert len(set(zip(pairs["query"], pairs["positive"], strict=True))) == len(cross)


def test_a_pair_costs_at_most_24_bytes_beyond_the_text() -> None:
    rows = rows_of(["abcdefghij"] * 500)
    pairs = parallel_pairs(rows)
    text = pair_text(pairs)
    assert len(pairs) == 500 * 10 * 10
    assert (pairs.data.nbytes + text.keys.data.nbytes) / len(pairs) <= 24


def test_rows_may_be_selected_and_in_any_order() -> None:
    rows = rows_of(["abc", "ab", "bc"])
    shuffled = rows.shuffle(seed=3).select(range(5))
    wanted = {(a["query"], b["positive"]) for a in shuffled for b in shuffled if a["id"] == b["id"]}
    assert {(pair["query"], pair["positive"]) for pair in parallel_pairs(shuffled)} == wanted


def test_pairs_stay_pairs_after_select_shuffle_and_filter() -> None:
    pairs = parallel_pairs(rows_of(["abc", "ab"]))
    cross = pairs.filter(lambda pair: pair["label"][1] != pair["label"][2])
    assert 0 < len(cross) < len(pairs)
    assert all(pair["query"][-1] != pair["positive"][-1] for pair in cross.shuffle(seed=0))


def with_negatives() -> Dataset:
    return Dataset.from_list([row(g, x, negative=f"not {g} {x}") for g in range(3) for x in "ab"])


def test_columns_read_alone_as_in_the_rows() -> None:
    pairs = parallel_pairs(with_negatives())
    assert pairs.column_names == list(pairs[0]) == ["query", "positive", "negative", "label"]
    for name in pairs.column_names:
        assert list(pairs[name]) == pairs[:][name] == [pair[name] for pair in pairs]
    assert pairs.remove_columns("negative")[6] == {k: v for k, v in pairs[6].items() if k != "negative"} | {
        "label": pairs[6]["label"][:3]
    }
    assert pairs.select_columns("query")[6] == {"query": "question 0 a"}


WRITERS = ["to_csv", "to_dict", "to_json", "to_list", "to_pandas", "to_parquet", "to_polars", "to_sql", "push_to_hub"]


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_writes_pairs_without_their_texts(name: str) -> None:
    pairs = parallel_pairs(with_negatives())
    for part in (pairs, pairs.select([2, 0]), pairs.shuffle(seed=0), pairs.train_test_split(4, seed=0)["test"]):
        with pytest.raises(ValueError, match=r"save_pairs\(pairs, folder\).*pairs.map\(dict, batched=True\)"):
            getattr(part, name)("somewhere")


def test_texts_are_written_out_by_map(tmp_path: Path) -> None:
    pairs = parallel_pairs(with_negatives())
    pairs.map(dict, batched=True).to_parquet(tmp_path / "pairs.parquet")
    assert list(Dataset.from_parquet(str(tmp_path / "pairs.parquet"), cache_dir=str(tmp_path))) == list(pairs)
    changed = pairs.map(lambda pair: {**pair, "query": f"ask: {pair['query']}"})
    assert list(changed["query"]) == [f"ask: {query}" for query in pairs["query"]]
    with pytest.raises(ValueError, match="Let it return all"):
        pairs.map(lambda pair: {"query": f"ask: {pair['query']}"})[0]


def test_pairs_of_the_same_rows_can_be_joined_and_others_are_refused(tmp_path: Path) -> None:
    rows = with_negatives()
    pairs = parallel_pairs(rows)
    ours, theirs = pairs.select([3, 1]), pairs.filter(lambda pair: pair["label"][1] == 1)
    joined = concatenate_datasets([ours, theirs])
    assert list(joined) == [*ours, *theirs]
    joined.map(dict, batched=True).to_parquet(tmp_path / "joined.parquet")
    assert list(Dataset.from_parquet(str(tmp_path / "joined.parquet"), cache_dir=str(tmp_path))) == list(joined)
    others = parallel_pairs(rows.select(range(4)))
    for join in (concatenate_datasets, interleave_datasets):
        with pytest.raises(ValueError, match="Join the rows before parallel_pairs, or put the pairs side by side"):
            join([pairs, others])


@pytest.mark.parametrize("hashed", [True, False])
def test_the_librarys_sampler_without_duplicates_takes_pairs(hashed: bool) -> None:
    pairs = parallel_pairs(with_negatives())
    sampler = NoDuplicatesBatchSampler(pairs, 3, True, ["label"], precompute_hashes=hashed, precompute_num_proc=1)
    batches = list(sampler)
    assert len(batches) > 1
    for batch in batches:
        texts = [pairs[number][name] for number in batch for name in ("query", "positive", "negative")]
        assert len(set(texts)) == 9


def test_a_dataset_dict_gives_a_dataset_dict() -> None:
    rows = rows_of(["ab", "ab"])
    pairs = parallel_pairs(DatasetDict(one=rows, two=rows.select([0, 1])), partners=1)
    assert {name: len(part) for name, part in pairs.items()} == {"one": 8, "two": 4}


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_pairs_read_the_same_in_data_loader_workers(context: str) -> None:
    pairs = parallel_pairs(rows_of(["abc", "ab", "c"]))
    loader = DataLoader(pairs, batch_size=4, num_workers=2, multiprocessing_context=context, collate_fn=list)
    assert [pair for batch in loader for pair in batch] == list(pairs)


def test_pairs_survive_pickle() -> None:
    pairs = parallel_pairs(rows_of(["ab"]))
    assert list(pickle.loads(pickle.dumps(pairs))) == list(pairs)


def test_saved_pairs_come_back_in_their_order(tmp_path: Path) -> None:
    rows = rows_of(["abc", "ab"]).add_column("negative", [f"not {number}" for number in range(5)])
    pairs = parallel_pairs(rows, negatives_follow="query").shuffle(seed=1).select(range(7))
    save_pairs(pairs, tmp_path / "pairs")
    again = load_pairs(tmp_path / "pairs")
    assert list(again) == list(pairs)
    assert pair_text(again).languages == ["a", "b", "c"]
    with pytest.raises(FileNotFoundError, match="save_pairs"):
        load_pairs(tmp_path)


def test_saved_pairs_may_replace_those_they_were_loaded_from(tmp_path: Path) -> None:
    save_pairs(parallel_pairs(rows_of(["abc", "ab"])), tmp_path / "pairs")
    pairs = load_pairs(tmp_path / "pairs").shuffle(seed=2).select(range(4))
    wanted = list(pairs)
    save_pairs(pairs, tmp_path / "pairs")
    assert list(load_pairs(tmp_path / "pairs")) == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]


def test_pairs_are_saved_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = parallel_pairs(rows_of(["abc", "ab"]))
    save_pairs(pairs, tmp_path / "pairs")

    def full_disk(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("st_hybrid.pairs.write_json", full_disk)
    for folder in ("pairs", "new"):
        with pytest.raises(OSError, match="No space left"):
            save_pairs(pairs.select([0]), tmp_path / folder)
    assert list(load_pairs(tmp_path / "pairs")) == list(pairs)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]


def test_saved_pairs_replace_no_other_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    for path in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(FileExistsError, match="holds files that save_pairs did not write"):
            save_pairs(parallel_pairs(rows_of(["ab"])), path)
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "years of work"
    (tmp_path / "empty").mkdir()
    save_pairs(parallel_pairs(rows_of(["ab"])), tmp_path / "empty")
    assert len(load_pairs(tmp_path / "empty")) == 4


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (rows_of(["ab"]).remove_columns("query"), "no column 'query'"),
        (Dataset.from_list([row(0, "a"), row(0, "b", query=" ")]), "'query' is null or empty in row 1"),
        (concatenate_datasets([rows_of(["ab"])] * 2), r"rows 2, 3 repeat \(0, 'a'\), \(0, 'b'\)"),
    ],
)
def test_rows_are_checked(rows: Dataset, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parallel_pairs(rows)


def test_errors_of_arguments() -> None:
    with pytest.raises(ValueError, match="partners"):
        parallel_pairs(rows_of(["ab"]), partners=0)
    with pytest.raises(TypeError, match="IterableDataset"):
        parallel_pairs(rows_of(["ab"]).to_iterable_dataset())
    with pytest.raises(ValueError, match="did not come from parallel_pairs"):
        pair_text(rows_of(["ab"]))
    with pytest.raises(ValueError, match="did not come from parallel_pairs"):
        pair_text(parallel_pairs(rows_of(["ab"])).with_format(None))
