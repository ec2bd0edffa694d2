"""What the shards of a corpus keep, and when it is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid.search.shards import EmbeddingShards

CORPUS = Dataset.from_dict(
    {
        "id": ["a", "b", "c", "d", "e"],
        "title": ["Lighthouse", "", None, "Pier", " "],
        "text": ["It stands on a cliff.", " In the harbour. ", "Boats leave.", None, ""],
    }
)


def encode(texts: list[str]) -> np.ndarray:
    return np.asarray([[len(text), text.count("e") + 0.1] for text in texts], dtype=np.float32)


def test_title_and_text_are_joined():
    shards = EmbeddingShards(CORPUS, encode, "model", 2)
    texts = [shards.texts(number).to_pylist() for number in range(len(shards))]
    assert texts == [["Lighthouse It stands on a cliff.", "In the harbour."], ["Boats leave.", "Pier"], [""]]


def test_a_selection_of_a_corpus_keeps_its_order():
    shards = EmbeddingShards(CORPUS.select([3, 0, 2]), encode, "model", 2)
    assert shards.texts(0).to_pylist() == ["Pier", "Lighthouse It stands on a cliff."]


@given(st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), min_size=1, max_size=5))
def test_texts_are_joined_as_mteb_joins_them(rows: list[tuple[str, str]]):
    titles, texts = (
        [part.encode("utf-8", "replace").decode() for part in column] for column in zip(*rows, strict=True)
    )
    corpus = Dataset.from_dict({"id": [str(i) for i in range(len(rows))], "title": titles, "text": texts})
    # mteb: title, space, text, stripped; the text alone, stripped, where there is no title.
    expected = [f"{title} {text}".strip() if title else text.strip() for title, text in zip(titles, texts, strict=True)]
    assert EmbeddingShards(corpus, encode, "model", 10).texts(0).to_pylist() == expected


def refuse(texts: list[str]) -> np.ndarray:
    raise AssertionError("encoded again")


def test_what_is_written_is_read(tmp_path: Path):
    shards = EmbeddingShards(CORPUS, encode, "model", 2, tmp_path)
    assert shards.missing() == [0, 1, 2]
    fresh = shards.load(1)
    assert shards.missing() == [0, 2]
    again = EmbeddingShards(CORPUS, refuse, "model", 2, tmp_path).load(1)
    assert (again == fresh).all()
    assert again.dtype == np.float32
    np.testing.assert_allclose(again, encode(shards.texts(1).to_pylist()), rtol=1e-3)
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


def test_shards_of_another_model_or_of_other_texts_are_not_used(tmp_path: Path):
    EmbeddingShards(CORPUS, encode, "model", 2, tmp_path).encode(0)
    with pytest.raises(AssertionError, match="encoded again"):
        EmbeddingShards(CORPUS, refuse, "changed", 2, tmp_path).load(0)
    changed = CORPUS.map(lambda row: {"title": "Tower" if row["id"] == "b" else row["title"]})
    shards = EmbeddingShards(changed, encode, "model", 2, tmp_path)
    assert not shards.holds(0)
    shards.encode(0)
    assert shards.holds(0)


@pytest.mark.parametrize("damage", ["truncated", "empty", "other"])
def test_damaged_files_are_not_used(tmp_path: Path, damage: str):
    shards = EmbeddingShards(CORPUS, encode, "model", 5, tmp_path)
    fresh = shards.encode(0)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[:-4], "empty": b"", "other": b"not a shard" * 100}[damage])
    assert shards.missing() == [0]
    assert (shards.load(0) == fresh).all()
    assert (EmbeddingShards(CORPUS, refuse, "model", 5, tmp_path).load(0) == fresh).all()


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1.0], [np.nan]], "passage 'd' is not finite"),
        ([[1e6], [1.0]], "passage 'c' is not finite in float16"),
        ([[1.0]], r"shape \(1, 1\) for 2 texts"),
    ],
)
def test_vectors_that_cannot_be_ranked_are_refused(tmp_path: Path, vectors: list[list[float]], message: str):
    shards = EmbeddingShards(CORPUS, lambda texts: np.asarray(vectors, dtype=np.float32), "model", 2, tmp_path)
    with pytest.raises(ValueError, match=message):
        shards.encode(1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("corpus", "rows", "message"),
    [
        (CORPUS, 0, "at least one row"),
        (CORPUS.select([]), 2, "corpus is empty"),
        (CORPUS.remove_columns("text"), 2, "no column 'text', only id, title"),
    ],
)
def test_bad_corpora_are_refused(corpus: Dataset, rows: int, message: str):
    with pytest.raises(ValueError, match=message):
        EmbeddingShards(corpus, encode, "model", rows)
