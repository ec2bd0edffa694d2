"""A sample of a corpus, from every layout, with the language of each passage."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from st_hybrid.data import Dropped, sample_passages

TEXTS = {
    "de": "Der Leuchtturm Nummer {} steht auf einer hohen Klippe über dem Meer.",
    "el": "Ο φάρος με αριθμό {} βρίσκεται πάνω σε έναν ψηλό βράχο δίπλα στη θάλασσα.",
    "tr": "{} numaralı deniz feneri denizin üzerindeki yüksek bir kayalıkta duruyor.",
}
ROWS = [
    {"_id": f"{code}-{number}", "text": text.format(number), "language": code}
    for number in range(40)
    for code, text in TEXTS.items()
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def pairs(data: Any, **options: Any) -> Counter[tuple[str, str]]:
    found = sample_passages(data, **options)
    return Counter(zip(found.texts, found.languages, strict=True))


EXPECTED = Counter((row["text"], row["language"]) for row in ROWS)


def test_every_layout_of_a_corpus(tmp_path: Path) -> None:
    write(tmp_path / "beir" / "corpus.jsonl", ROWS)
    write(tmp_path / "beir" / "queries.jsonl", [{"_id": "q", "text": "Wo?", "language": "de"}])
    Dataset.from_list(ROWS).to_csv(tmp_path / "rows.csv")
    Dataset.from_list(ROWS).to_parquet(tmp_path / "rows.parquet")
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"text": row["text"], "lang": row["language"]}) + "\n" for row in ROWS)
    long = [{"id": row["_id"], "language": row["language"], "query": "?", "positive": row["text"]} for row in ROWS]
    write(tmp_path / "long.jsonl", long)
    wide = [{f"positive_{code}": text.format(i) for code, text in TEXTS.items()} | {"text_id": i} for i in range(40)]
    write(tmp_path / "wide.jsonl", wide)
    for name in ("beir", "rows.csv", "rows.parquet", "saved", "rows.jsonl.gz", "long.jsonl", "wide.jsonl"):
        assert pairs(tmp_path / name) == EXPECTED, name


def test_lines_of_text_files_and_several_files(tmp_path: Path) -> None:
    for code in TEXTS:
        lines = "".join(row["text"] + "\r\n" for row in ROWS if row["language"] == code)
        (tmp_path / f"{code}.txt").write_text("\ufeff" + lines, encoding="utf-8", newline="")
    assert pairs(tmp_path / "de.txt", language="de") == +Counter(
        {key: n for key, n in EXPECTED.items() if key[1] == "de"}
    )
    found = sample_passages([tmp_path / f"{code}.txt" for code in TEXTS])
    assert Counter(zip(found.texts, found.languages, strict=True)) == EXPECTED
    assert (found.total, found.detected) == (120, 120)


def test_title_stands_in_front_of_the_text(tmp_path: Path) -> None:
    rows = [
        {"title": "Leuchtturm", "text": "Er steht hier.", "language": "de"},
        {"title": None, "text": "Allein.", "language": "de"},
        {"title": "Nur Titel", "text": "", "language": "de"},
    ]
    found = sample_passages(write(tmp_path / "corpus.jsonl", rows))
    assert set(found.texts) == {"Leuchtturm Er steht hier.", "Allein.", "Nur Titel"}


def test_sample_is_drawn_at_random_from_the_whole_corpus(tmp_path: Path) -> None:
    rows = [{"text": str(number), "language": "de"} for number in range(12_000)]  # several batches
    path = write(tmp_path / "corpus.jsonl", rows)
    found = sample_passages(path, 1000, seed=5)
    assert (len(set(found.texts)), found.total) == (1000, 12_000)
    numbers = np.array(found.texts, dtype=int)
    assert abs(numbers.mean() - 6000) < 4 * 12_000 / np.sqrt(12 * 1000)
    assert sample_passages(path, 1000, seed=5) == found
    assert sample_passages(path, 1000, seed=6).texts != found.texts
    assert sorted(sample_passages(path, None).texts) == sorted(row["text"] for row in rows)


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    rows = [*ROWS[:3], {"text": " ", "language": "de"}, {"text": "Hier.", "language": None}, {"text": None}]
    path = write(tmp_path / "corpus.jsonl", rows)
    found = sample_passages(path, languages=["de", "el"])
    assert sorted(found.languages) == ["de", "el"]
    assert {reason: (part.rows, part.first) for reason, part in found.dropped.items()} == {
        "no text": (2, f"{path}:4"),
        "no language": (1, f"{path}:5"),
        "language not asked for": (1, f"{path}:3"),
    }


def test_languages_are_detected_where_no_column_has_them(tmp_path: Path) -> None:
    rows = [{"body": row["text"]} for row in ROWS] + [{"body": "123 456"}]
    path = write(tmp_path / "corpus.jsonl", rows)
    found = sample_passages(path, columns={"text": "body"})
    assert Counter(zip(found.texts, found.languages, strict=True)) == EXPECTED
    assert found.detected == 121
    assert found.dropped == {"language not certain": Dropped(1, "'123 456'")}
    for asked in (["de", "tr"], ["deu", "tur"], ["de", "tr", "yue"]):  # lingua does not know Cantonese
        only = sample_passages(path, columns={"text": "body"}, languages=asked)
        assert Counter(only.languages) == {"de": 40, "tr": 40}
        assert {reason: part.rows for reason, part in only.dropped.items()} == {
            "language not asked for": 40,
            "language not certain": 1,
        }


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path / "corpus.jsonl", [{"body": "Hier.", "language": "de"}])
    for options, message in (
        ({}, r"no column 'text' or 'positive'; its columns are 'body', 'language'\. .*--column text="),
        ({"columns": {"text": "content"}}, "no column 'content'; its columns are"),
        ({"columns": {"passage": "body"}}, "its keys are text, title, language"),
        ({"columns": {"text": "body"}, "language": "de"}, "has a language for each passage"),
        ({"columns": {"text": "body"}, "languages": ["english"]}, "Did you mean 'en'"),
        ({"columns": {"text": "body"}, "languages": ["el"]}, "no passages in .*: 1 left out: language not asked for"),
        ({"sample": 0}, "sample must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            sample_passages(path, **options)
    for name in ("none.txt", "none.jsonl", "user/none"):
        with pytest.raises(FileNotFoundError, match="none"):
            sample_passages(tmp_path / name)
