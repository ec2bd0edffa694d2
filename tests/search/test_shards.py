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
    shards = EmbeddingShards(None, CORPUS, "model", 2)
    texts = [shards.texts(number).to_pylist() for number in range(len(shards))]
    assert texts == [["Lighthouse It stands on a cliff.", "In the harbour."], ["Boats leave.", "Pier"], [""]]


def test_a_selection_of_a_corpus_keeps_its_order():
    shards = EmbeddingShards(None, CORPUS.select([3, 0, 2]), "model", 2)
    assert shards.texts(0).to_pylist() == ["Pier", "Lighthouse It stands on a cliff."]


@given(st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), min_size=1, max_size=5))
def test_texts_are_joined_as_mteb_joins_them(rows: list[tuple[str, str]]):
    titles, texts = (
        [part.encode("utf-8", "replace").decode() for part in column] for column in zip(*rows, strict=True)
    )
    corpus = Dataset.from_dict({"id": [str(i) for i in range(len(rows))], "title": titles, "text": texts})
    # mteb: title, space, text, stripped; the text alone, stripped, where there is no title.
    expected = [f"{title} {text}".strip() if title else text.strip() for title, text in zip(titles, texts, strict=True)]
    assert EmbeddingShards(None, corpus, "model", 10).texts(0).to_pylist() == expected


def test_what_is_written_is_read(tmp_path: Path):
    shards = EmbeddingShards(tmp_path, CORPUS, "model", 2)
    assert shards.missing() == [0, 1, 2]
    fresh = shards.encode(1, encode)
    assert shards.missing() == [0, 2]
    again = shards.read(1)
    assert again is not None
    assert (again == fresh).all()
    assert again.dtype == np.float32
    np.testing.assert_allclose(again, encode(shards.texts(1).to_pylist()), rtol=1e-3)
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


def test_shards_of_another_model_or_of_other_texts_are_not_used(tmp_path: Path):
    EmbeddingShards(tmp_path, CORPUS, "model", 2).encode(0, encode)
    assert EmbeddingShards(tmp_path, CORPUS, "changed", 2).read(0) is None
    changed = CORPUS.map(lambda row: {"title": "Tower" if row["id"] == "b" else row["title"]})
    shards = EmbeddingShards(tmp_path, changed, "model", 2)
    assert shards.read(0) is None
    shards.encode(0, encode)
    assert shards.read(0) is not None


@pytest.mark.parametrize("damage", ["truncated", "empty", "other"])
def test_damaged_files_are_not_used(tmp_path: Path, damage: str):
    shards = EmbeddingShards(tmp_path, CORPUS, "model", 5)
    fresh = shards.encode(0, encode)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[:-4], "empty": b"", "other": b"not a shard" * 100}[damage])
    assert shards.read(0) is None
    assert shards.missing() == [0]
    shards.encode(0, encode)
    again = shards.read(0)
    assert again is not None
    assert (again == fresh).all()


def test_vectors_that_cannot_be_ranked_are_refused(tmp_path: Path):
    shards = EmbeddingShards(tmp_path, CORPUS, "model", 2)
    with pytest.raises(ValueError, match="passage 'd' is not finite"):
        shards.encode(1, lambda texts: np.asarray([[1.0], [np.nan]], dtype=np.float32))
    with pytest.raises(ValueError, match="passage 'c' is not finite in float16"):
        shards.encode(1, lambda texts: np.asarray([[1e6], [1.0]], dtype=np.float32))
    with pytest.raises(ValueError, match=r"shape \(1, 1\) for 2 texts"):
        shards.encode(1, lambda texts: np.ones((1, 1), dtype=np.float32))
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
        EmbeddingShards(None, corpus, "model", rows)
