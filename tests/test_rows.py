"""Parallel rows: every check, passage clusters against brute force, splits, and the forms of text they accept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict, concatenate_datasets
from hypothesis import assume, given
from hypothesis import strategies as st

from st_hybrid.rows import ParallelRows, join_rows, split_groups


def row(group: int, language: str, **texts: Any) -> dict[str, Any]:
    return {
        "id": group,
        "language": language,
        "query": f"question {group} {language}",
        "positive": f"answer {group} {language}",
    } | texts


def rows_of(groups: list[str]) -> Dataset:
    """One group for each string of one-letter languages."""
    return Dataset.from_list([row(number, letter) for number, letters in enumerate(groups) for letter in letters])


# Few passages, the first of them untranslated, so that groups are linked within and across languages.
corpora = st.lists(
    st.tuples(st.sets(st.sampled_from("abcd"), min_size=1), st.integers(0, 8)), min_size=1, max_size=14
).flatmap(
    lambda groups: st.permutations(
        [
            row(number, language, positive=f"passage {passage} {language if passage else ''}")
            for number, (languages, passage) in enumerate(groups)
            for language in sorted(languages)
        ]
    ).map(Dataset.from_list)
)


def union_find(rows: Dataset) -> dict[int, int]:
    """The root of each group, by brute force."""
    root = {group: group for group in rows["id"]}

    def find(group: int) -> int:
        while root[group] != group:
            group = root[group]
        return group

    for one in rows:
        for other in rows:
            if one["positive"] == other["positive"]:
                root[find(one["id"])] = find(other["id"])
    return {group: find(group) for group in root}


@given(corpora)
def test_clusters_are_those_of_a_union_find(rows: Dataset) -> None:
    cluster = ParallelRows(rows).cluster
    root = union_find(rows)
    pairs = {(root[group], number) for group, number in zip(rows["id"], cluster.tolist(), strict=True)}
    assert len(pairs) == len(set(root.values())) == len(set(cluster.tolist()))
    assert sorted(set(cluster.tolist())) == list(range(len(pairs)))
    assert cluster.dtype == np.int64


def test_text_that_is_not_translated_links_groups_of_two_languages() -> None:
    rows = [row(0, "en", positive="LATEX"), row(0, "de"), row(1, "de", positive="LATEX"), row(1, "fr"), row(2, "fr")]
    assert ParallelRows(Dataset.from_list(rows)).cluster.tolist() == [0, 0, 0, 0, 1]


def test_equal_queries_do_not_link_groups() -> None:
    rows = ParallelRows(Dataset.from_list([row(number, "en", query="Why?") for number in range(3)]))
    assert rows.cluster.tolist() == [0, 1, 2]
    assert rows.query_text.tolist() == [0, 0, 0]


def test_codes_of_one_language_are_one_language() -> None:
    rows = ParallelRows(Dataset.from_list([row(1, "iw"), row(1, "en"), row(2, "he"), row(2, "de"), row(3, "cmn")]))
    assert rows.languages == ["cmn", "de", "en", "he"]
    assert rows.language.tolist() == [3, 2, 3, 1, 0]
    with pytest.raises(ValueError, match=r"row 1 repeats \(1, 'he'\)"):
        ParallelRows(Dataset.from_list([row(1, "iw"), row(1, "he")]))


def test_numbers_of_groups_languages_and_query_texts() -> None:
    rows = [row(7, "fr"), row(3, "de", query="question 7 fr"), row(7, "de"), row(3, "en")]
    read = ParallelRows(Dataset.from_list(rows))
    assert read.languages == ["de", "en", "fr"]
    assert read.language.tolist() == [2, 0, 0, 1]
    assert read.group.tolist() == [0, 1, 0, 1]
    assert read.query_text.tolist() == [0, 0, 1, 2]
    assert len(read) == 4


@given(corpora)
def test_clusters_of_texts_are_those_of_the_rows_they_answer(rows: Dataset) -> None:
    read = ParallelRows(rows)
    texts = ["no row's positive", *rows["positive"], None]
    for kind in (pa.string(), pa.large_string()):
        assert read.clusters_of(pa.array(texts, kind)).tolist() == [-1, *read.cluster.tolist(), -1]
    assert read.clusters_of(pa.chunked_array([texts[:1], texts[1:]])).tolist() == [-1, *read.cluster.tolist(), -1]


@given(corpora, st.one_of(st.floats(0.05, 0.95), st.integers(1, 10)), st.integers(0, 3))
def test_split_leaves_no_group_and_no_cluster_on_both_sides(rows: Dataset, test_size: float, seed: int) -> None:
    read = ParallelRows(rows)
    groups = len(set(rows["id"]))
    try:
        train, test = read.split(test_size, seed=seed)
    except ValueError:  # the last cluster that it takes to reach the size may be all the rest
        assume(False)
    assert sorted([*train, *test]) == list(range(len(rows)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()
    for number in (read.group, read.cluster):
        assert not set(number[train]) & set(number[test])
    wanted = test_size if isinstance(test_size, int) else round(test_size * groups)
    drawn = len(np.unique(read.group[test]))
    sizes = [len(np.unique(read.group[read.cluster == cluster])) for cluster in np.unique(read.cluster[test])]
    assert drawn - max(sizes) < wanted <= drawn  # no cluster more than it takes
    again = read.split(test_size, seed=seed)
    assert [part.tolist() for part in again] == [train.tolist(), test.tolist()]


def test_split_takes_numbers_of_any_integer_type() -> None:
    read = ParallelRows(rows_of(["ab"] * 20))
    assert len(read.split(5)[1]) == len(read.split(np.int64(5))[1]) == len(read.split(0.25)[1]) == 10
    assert read.split(5, seed=1)[1].tolist() != read.split(5)[1].tolist()


@pytest.mark.parametrize("test_size", [0, 0.0, 0.001, 1.0, 20, -1])
def test_split_refuses_sizes_that_leave_a_part_empty(test_size: float) -> None:
    with pytest.raises(ValueError, match="leaves one part without rows: there are 20 groups in 20 passage clusters"):
        ParallelRows(rows_of(["ab"] * 20)).split(test_size)


def test_split_groups_maps_columns_and_keeps_the_others() -> None:
    rows = rows_of(["ab"] * 20).rename_columns({"id": "key", "language": "code", "query": "q", "positive": "p"})
    rows = rows.add_column("source", [str(number) for number in range(40)])
    parts = split_groups(rows, 5, id_column="key", language_column="code", query_column="q", positive_column="p")
    assert {name: len(part) for name, part in parts.items()} == {"train": 30, "test": 10}
    assert parts["test"].column_names == rows.column_names


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_any_arrow_text_type_is_text(kind: pa.DataType) -> None:
    plain = Dataset.from_list(
        [row(0, "a", negative="n"), row(0, "b", negative="n"), row(1, "a", negative="answer 0 a")]
    )
    table = plain.data.table
    for name in ("language", "query", "positive", "negative"):
        column = table[name].dictionary_encode() if pa.types.is_dictionary(kind) else table[name].cast(kind)
        table = table.set_column(table.column_names.index(name), name, column)
    read, wanted = ParallelRows(Dataset(table)), ParallelRows(plain)
    assert read.table == wanted.table
    assert read.cluster.tolist() == wanted.cluster.tolist()
    assert read.clusters_of(read.table["negative"]).tolist() == [-1, -1, 0]
    assert read.dataset.to_list() == plain.to_list()


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.int8(), pa.uint64()])
def test_ids_are_text_or_integers(kind: pa.DataType) -> None:
    ids = pa.chunked_array([["5", "4"], ["5"]]).cast(kind)
    table = pa.table({"id": ids, "language": ["a", "a", "b"], "query": list("qrs"), "positive": list("xyz")})
    assert ParallelRows(Dataset(table)).group.tolist() == [0, 1, 0]


@pytest.mark.parametrize("form", ["numpy", "torch", "pandas", "arrow", "columns", "transform"])
def test_the_format_of_the_data_set_does_not_matter(form: str) -> None:
    rows = rows_of(["ab", "b"])
    formatted = {
        "columns": lambda: rows.with_format("numpy", columns=["id"]),
        "transform": lambda: rows.with_transform(lambda batch: {"id": [0] * len(batch["id"])}),
    }.get(form, lambda: rows.with_format(form))()
    read = ParallelRows(formatted)
    assert read.table == ParallelRows(rows).table
    assert read.dataset[0] == rows[0]


def test_selected_and_shuffled_rows_are_read_in_their_order() -> None:
    rows = rows_of(["abc", "ab", "bc"]).shuffle(seed=3).select(range(5))
    read = ParallelRows(rows)
    assert read.table["query"].to_pylist() == list(rows["query"]) == list(read.dataset["query"])


def test_columns_are_mapped_once() -> None:
    rows = rows_of(["ab"]).rename_columns({"id": "key", "query": "question"}).add_column("query", ["other"] * 2)
    read = ParallelRows(rows, columns={"id": "key", "query": "question"})
    assert read.dataset.column_names == read.table.column_names == ["id", "language", "query", "positive"]
    assert read.table["query"].to_pylist() == ["question 0 a", "question 0 b"]
    swapped = ParallelRows(rows_of(["ab"]), columns={"query": "positive", "positive": "query"})
    assert swapped.table["positive"].to_pylist() == ["question 0 a", "question 0 b"]


def test_one_column_may_be_query_and_positive() -> None:
    rows = rows_of(["ab", "b"]).remove_columns("query").rename_column("positive", "text").select([2, 0, 1])
    read = ParallelRows(rows, columns={"query": "text", "positive": "text"})
    assert read.dataset.column_names == ["id", "language", "query", "positive"]
    assert list(read.dataset["query"]) == list(read.dataset["positive"]) == list(rows["text"])


def test_negative_columns_are_those_named_so_or_those_given() -> None:
    rows = Dataset.from_list([row(0, "a", negative_1="x", negative_2="y", hard="z")])
    assert ParallelRows(rows).negative_columns == ["negative_1", "negative_2"]
    given_columns = ParallelRows(rows, negative_columns=["hard", "negative_2", "hard"])
    assert given_columns.dataset.column_names == ["id", "language", "query", "positive", "hard", "negative_2"]
    assert ParallelRows(rows, columns={"positive": "negative_1"}).negative_columns == ["negative_2"]
    assert ParallelRows(rows, negative_columns=[]).negative_columns == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (rows_of(["ab"]).remove_columns(["query", "id"]), "no column 'id', 'query'; they have 'language', 'positive'"),
        (rows_of(["ab"]).select([]), "There are no rows"),
        (Dataset.from_list([row(0, "a"), row(0, "b", query=" ")]), "'query' is null or empty in row 1"),
        (Dataset.from_list([row(0, "a"), row(0, "b", positive=None)]), "'positive' is null or empty in row 1"),
        (
            Dataset.from_list([row(0, "a", negative="x"), row(1, "b", negative="")]),
            "'negative' is null or empty in row 1",
        ),
        (Dataset.from_list([row(0, "a"), row(1, "b", id=None)]), "'id' is null or empty in row 1"),
        (Dataset.from_list([row(0, "a", id="x"), row(1, "b", id="")]), "'id' is null or empty in row 1"),
        (Dataset.from_list([row(number, "") for number in range(9)]), "'language' .* in rows 0, 1, 2, 3, 4 and 4 more"),
        (concatenate_datasets([rows_of(["ab"])] * 2), r"rows 2, 3 repeat \(0, 'a'\), \(0, 'b'\)\."),
        (concatenate_datasets([rows_of(["a"])] * 2), r"row 1 repeats \(0, 'a'\)\."),
        (concatenate_datasets([rows_of(["abcdef"])] * 2), r"rows 6, 7, 8, 9, 10 and 1 more repeat .*, \.\.\.\. Give"),
        (Dataset.from_list([row(0, "a", query=3)]), "'query' holds int64, not text: use rows.cast_column"),
        (Dataset.from_list([row(0, "a", id=0.5)]), "'id' holds double, not text or integers: use rows.cast_column"),
        (Dataset.from_list([row(0, "a", positive=["x"])]), "'positive' holds list.*, not text"),
    ],
)
def test_errors_name_rows_and_columns(rows: Dataset, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ParallelRows(rows)


def test_errors_name_the_source_column() -> None:
    rows = rows_of(["ab"]).rename_column("query", "question").map(lambda row: {"question": " "})
    with pytest.raises(ValueError, match="Column 'question' is null or empty in rows 0, 1"):
        ParallelRows(rows, columns={"query": "question"})
    with pytest.raises(ValueError, match="no column 'heading'"):
        ParallelRows(rows, columns={"query": "heading"})


def test_errors_of_arguments() -> None:
    rows = rows_of(["ab"])
    with pytest.raises(
        ValueError, match=r"columns has the key 'question'\. Its keys must be among id, language, query"
    ):
        ParallelRows(rows, columns={"question": "query"})
    with pytest.raises(ValueError, match="no column 'hard'"):
        ParallelRows(rows, negative_columns=["hard"])
    with pytest.raises(ValueError, match="A column of negatives must not be named 'positive'"):
        ParallelRows(rows, negative_columns=["positive"])
    for other in (DatasetDict(train=rows), rows.to_iterable_dataset(), rows.to_list()):
        with pytest.raises(TypeError, match=f"must be a datasets.Dataset, not {type(other).__name__}"):
            ParallelRows(other)  # type: ignore[arg-type]


def test_joined_sets_share_clusters_but_no_group() -> None:
    sets = {
        "faq": Dataset.from_list([row(1, "a"), row(1, "b"), row(2, "a", positive="Same: text!")]),
        "news": Dataset.from_list([row(1, "c", document="x"), row(3, "a", positive="same text", document="x")]),
        "logs": Dataset.from_list([row(7, "a", passage_language="c")]),
    }
    joined = join_rows(sets, columns={"document": "document"})
    assert joined["id"][:] == ["faq 1", "faq 1", "faq 2", "news 1", "news 3", "logs 7"]
    assert joined["passage_language"][:] == ["a", "b", "a", "c", "a", "c"]
    assert joined["document"][:] == [None, None, None, "news x", "news x", None]
    read = ParallelRows(joined, columns={"document": "document"})
    assert read.cluster.tolist() == [0, 0, 1, 2, 1, 3]
    assert read.document is not None
    assert len(set(read.document[[0, 1, 2, 5]])) == 3  # a row of no document has its group's own
    assert read.document[3] == read.document[4]
    assert read.bitext.tolist() == [False] * 6
    mined = sets | {"mined": Dataset.from_list([row(1, "a", negative="no")])}
    with pytest.raises(ValueError, match="mined has hard negatives in 'negative' and faq has none"):
        join_rows(mined)


def test_texts_without_letters_are_compared_as_they_are() -> None:
    positives = ["?", "!", "?", "a b", "A-B.", "Ａ b"]
    rows = Dataset.from_list([row(number, "a", positive=text) for number, text in enumerate(positives)])
    assert ParallelRows(rows).cluster.tolist() == [0, 1, 0, 2, 2, 2]


def test_bitext_and_pair_rows() -> None:
    rows = Dataset.from_list(
        [
            row(1, "a", query="t", positive="t", of="a"),
            row(1, "b", of="b"),
            row(2, "a", query="u", positive="u", of="b"),
        ]
    )
    read = ParallelRows(rows, columns={"passage_language": "of"})
    assert read.bitext.tolist() == [True, False, False]
    assert read.passage_language.tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match="no column 'nowhere'"):
        ParallelRows(rows, columns={"passage_language": "nowhere"})
