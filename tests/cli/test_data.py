"""The data commands; one through its real entry point, the others in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from st_hybrid.data import open_rows

ROOT = Path(__file__).parent.parent


Run = Callable[..., str]


@pytest.fixture
def run(st_hybrid: Run) -> Run:
    """Runs a command of ``st-hybrid data import``."""
    return partial(st_hybrid, "data", "import")


def lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def test_import_files(run: Run, tmp_path: Path) -> None:
    path = lines(
        tmp_path / "wide.jsonl",
        {"nr": 1, "q_de": "Wer?", "positive_de": "Ich.", "q_en": "Who?", "positive_en": "I.", "q_fr": "Qui ?"},
        {"nr": 2, "q_de": "Wo?", "positive_de": "", "q_en": "Where?", "positive_en": "Here."},
    )
    output = tmp_path / "new" / "rows.jsonl.gz"
    told = run("rows", path, "--output", output, "--column", "id=nr", "--column", "query=q", "--languages", "de, en")
    assert "3 of 4 rows in 2 groups" in told
    assert "left out: no positive" in told
    assert f"{path}:2" in told.replace("\n", "")
    assert [(row["id"], row["language"], row["query"]) for row in open_rows(output).rows] == [
        (1, "de", "Wer?"),
        (1, "en", "Who?"),
        (2, "en", "Where?"),
    ]


def test_import_hub(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    lines(tmp_path / "set" / "train.jsonl", *({"question": f"Who {n}?", "positive": f"{n}."} for n in range(5)))
    options = ["--column", "query=question", "--language", "en", "--streaming", "--max-rows", "3"]
    run("rows", tmp_path / "set", "--output", tmp_path / "rows.parquet", *options)
    assert open_rows(tmp_path / "rows.parquet").rows["query"][:] == ["Who 0?", "Who 1?", "Who 2?"]


def test_import_squad(run: Run, tmp_path: Path) -> None:
    for code in ("de", "en"):
        answers = [{"answer_start": 10, "text": "here"}]
        paragraph = {"context": "It is. Or here. Or not.", "qas": [{"id": 1, "question": code, "answers": answers}]}
        lines(tmp_path / "squad" / f"{code}.json", {"data": [{"paragraphs": [paragraph]}]})
    folder = tmp_path / "squad"
    run("squad", folder, "--output", tmp_path / "a.jsonl")
    assert open_rows(tmp_path / "a.jsonl").rows["positive"][:] == ["Or here."] * 2
    run("squad", f"de={folder / 'de.json'}", "--positive", "paragraph", "--output", tmp_path / "b.jsonl")
    assert open_rows(tmp_path / "b.jsonl").rows["positive"][:] == ["It is. Or here. Or not."]


def test_import_mmarco(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "data"
    lines(root / "google" / "collections" / "german_collection.tsv", *(f"{n}\tAntwort {n}" for n in range(9)))
    lines(root / "google" / "queries" / "train" / "german_queries.train.tsv", *(f"{n}\tFrage {n}" for n in range(9)))
    lines(root / "triples.train.ids.small.tsv", *(f"{n}\t{n}\t{8 - n}" for n in range(4)))
    options = ["--languages", "de", "--negatives", "1", "--max-queries", "2", "--seed", "3"]
    run("mmarco", root, "--output", tmp_path / "folder", *options)
    rows = open_rows(tmp_path / "folder").rows
    assert len(rows) == 2
    for row in rows:
        number = int(row["id"].split("-")[0])
        assert (row["positive"], row["negative_1"]) == (f"Antwort {number}", f"Antwort {8 - number}")


def test_import_bitext(run: Run, tmp_path: Path) -> None:
    run(
        "bitext",
        lines(tmp_path / "a.de", "Ja.", "Nein."),
        lines(tmp_path / "a.en", "Yes.", "No."),
        "--output",
        tmp_path / "a.jsonl.zst",
    )
    assert open_rows(tmp_path / "a.jsonl.zst").rows["query"][:] == ["Ja.", "Yes.", "Nein.", "No."]
    table = lines(tmp_path / "b.jsonl", {"src": "Ja.", "tgt": "Yes."})
    run(
        "bitext",
        table,
        "--languages",
        "de,en",
        "--text-columns",
        "src",
        "--text-columns",
        "tgt",
        "--output",
        tmp_path / "b.jsonl.gz",
    )
    assert open_rows(tmp_path / "b.jsonl.gz").rows["language"][:] == ["de", "en"]


def test_the_output_is_checked_before_anything_is_read(run: Run, tmp_path: Path) -> None:
    assert "Rows are written as .jsonl" in run(
        "rows", tmp_path / "missing.jsonl", "--output", tmp_path / "rows.txt", status=1
    )
    for arguments in (["--column", "query"], ["--column", "=x"]):
        assert "must be a pair such as query=question" in run(
            "rows", tmp_path / "missing.jsonl", "--output", tmp_path / "a.jsonl", *arguments, status=1
        )
    options = ["--column", "query=a", "--column", "query=b"]
    assert "query is given more than once" in run(
        "rows", tmp_path / "missing.jsonl", "--output", tmp_path / "a.jsonl", *options, status=1
    )


def test_a_user_sees_one_line_and_finds_no_temporary_file(tmp_path: Path) -> None:
    output, temporary = tmp_path / "out.parquet", tmp_path / "temporary"
    temporary.mkdir()

    def imported(language: str) -> subprocess.CompletedProcess[str]:
        row = {"id": 1, "language": language, "query": "Wer?", "positive": "Ich."}
        path = lines(tmp_path / "rows.jsonl", row)
        return subprocess.run(
            [sys.executable, "-m", "st_hybrid.cli", "data", "import", "rows", path, "--output", output],
            env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), "COLUMNS": "300"},
            capture_output=True,
            text=True,
            check=False,
        )

    told = imported("german")
    assert told.returncode == 1
    assert told.stderr.lstrip() == (
        f"Error: {tmp_path / 'rows.jsonl'}:1: 'german' is not the code of a language. Did you mean 'de' (German)? "
        "To accept any text as a language, pass check_languages=False.\n"
    )
    assert not output.exists()
    told = imported("de")
    assert told.returncode == 0, told.stderr
    assert "1 of 1 rows in 1 groups" in told.stdout
    assert len(open_rows(output).rows) == 1
    assert list(temporary.iterdir()) == []
