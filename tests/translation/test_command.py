"""``st-hybrid data translate``, through its real entry point in processes of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from st_hybrid.cli.data import translate
from st_hybrid.translation import Checks, ModelOptions
from tests.models import WORDS, translate_words

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "st_hybrid.cli", "data", "translate"]

# Wind is the same in English and German, and some rows say a word three times.
OPTIONS = ["--language", "en", "--device", "cpu", "--column", "query=question", "--max-batch-tokens", "10"]
OPTIONS += [part for name in ("copied", "language", "repetition") for part in ("--check.skip", name)]


def environment(cache: Path) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "COLUMNS": "120",
        "ST_HYBRID_CACHE": str(cache),
    }


def run(cache: Path, *arguments: str | Path, fails: bool = False) -> str:
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], env=environment(cache), capture_output=True, text=True, check=False
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).split())


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def stored(journal: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(journal)) as connection:
        return sorted(connection.execute("SELECT * FROM translations"))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Questions and answers in English: all pairs of words, without ids or languages, under names of their own."""
    path = tmp_path / "rows.jsonl"
    with path.open("w", encoding="utf-8") as lines:
        for first in WORDS["eng_Latn"]:
            for second in WORDS["eng_Latn"]:
                texts = {"question": f"{first} {second}", "positive": f"{second} {first} {first}"}
                print(json.dumps(texts), file=lines)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("back_end", ["transformers", "ctranslate2"])
def test_a_killed_run_goes_on_to_the_same_file(nllb_path: Path, rows: Path, tmp_path: Path, back_end: str) -> None:
    """Killed between two batches and run again, and run without being disturbed."""
    fixed = [rows, "--to", "de,ru", "--model", nllb_path, "--backend", back_end, *OPTIONS]
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    told = run(tmp_path, *fixed, "--output", whole, "--report", tmp_path / "report.json")
    assert "192 rows in 64 groups, 64 of them given" in told
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["kept"] == 192
    made = {(row["id"], row["language"]): row for row in written(whole)}
    for (name, language), row in made.items():
        code = {"en": "eng_Latn", "de": "deu_Latn", "ru": "rus_Cyrl"}[language]
        assert row["query"] == translate_words(made[name, "en"]["query"], code)
        assert row["positive"] == translate_words(made[name, "en"]["positive"], code)

    victim = subprocess.Popen(
        [*COMMAND, *map(str, [*fixed, "--output", killed])],
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    journal, undisturbed = (tmp_path / f"{name}.jsonl.journal" for name in ("killed", "whole"))
    empty = 8192  # bytes of a journal without translations
    deadline = time.monotonic() + 180
    while not (journal.exists() and journal.stat().st_size > empty) and time.monotonic() < deadline:
        assert victim.poll() is None, "the run ended before its first batches"
        time.sleep(0.002)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    assert not killed.exists()
    before = stored(journal)
    assert 0 < len(before) < len(stored(undisturbed))

    run(tmp_path, *fixed, "--output", killed)
    assert killed.read_bytes() == whole.read_bytes()
    assert set(before) <= set(stored(journal))
    assert stored(journal) == stored(undisturbed)


def test_suspicious_rows_are_marked_when_they_are_kept(nllb_path: Path, tmp_path: Path) -> None:
    data, output = tmp_path / "rows.csv", tmp_path / "rows.jsonl"
    data.write_text(
        "id,language,query,positive\na,en,sun,moon\nb,en,12,storm cloud cloud cloud storm\n", encoding="utf-8"
    )
    options = ["--to", "ru", "--model", nllb_path, "--keep-suspicious", "--device", "cpu", "--max-length", "2"]
    told = run(tmp_path, data, *options, "--output", output)
    assert "4 rows in 2 groups, 2 of them given" in told
    assert "length (much shorter or longer than the source): 1" in told
    assert [row["language"] for row in written(output)] == ["en", "en", "ru", "ru"]
    assert written(output)[2:] == [
        {"id": "a", "language": "ru", "query": "солнце", "positive": "луна", "suspicious": None},
        {"id": "b", "language": "ru", "query": "12", "positive": "буря", "suspicious": "length"},
    ]


def test_an_error_is_one_line(nllb_path: Path, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    told = run(tmp_path, rows, "--model", nllb_path, "--output", output, *OPTIONS, "--to", "german", fails=True)
    assert "Traceback" not in told
    assert told.endswith("has no language 'german'. Did you mean 'de' (German)?")
    assert not output.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"to": ["de", "fr"]}, "has no language 'fr'"),
        ({"to": []}, "Name at least one language"),
        ({"column": None}, "has no column 'query'"),
        ({"column": ["query"]}, "must be a pair such as query=question"),
        ({"model_options": ModelOptions(tokenizer="./none")}, r"no tokenizer for \./none"),
        ({"model": "./none"}, "neither a folder with one"),
        ({"output": Path("out.xlsx")}, r"\.jsonl"),
    ],
)
def test_errors_come_before_the_model(
    nllb_path: Path, rows: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    without_weights = tmp_path / "model"
    shutil.copytree(nllb_path, without_weights, ignore=shutil.ignore_patterns("*.safetensors"))
    given = {"to": ["de"], "model": str(without_weights), "output": tmp_path / "out.jsonl"}
    with pytest.raises((ValueError, OSError), match=message):
        translate(str(rows), **{**given, "language": "en", "column": ["query=question"], **change})
    assert not (tmp_path / "out.jsonl.journal").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compute_type": "int3"}, "compute_type must be one of float32, float16, bfloat16, got"),
        ({"compute_type": "int3", "backend": "ctranslate2"}, "compute_type must be one of .* int8_float32"),
        ({"beam_size": 0}, "beam_size must be positive"),
    ],
)
def test_model_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelOptions(**options)


def test_unknown_checks_are_refused() -> None:
    with pytest.raises(ValueError, match="There is no check 'spelling'"):
        Checks(skip=("spelling",))


def test_without_ctranslate2(nllb_path: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    given = {"to": ["de"], "model": str(nllb_path), "output": tmp_path / "out.jsonl"}
    with pytest.raises(ImportError, match=r"st-hybrid\[translate\]"):
        translate(
            str(rows), **given, language="en", column=["query=question"],
            model_options=ModelOptions(backend="ctranslate2"),
        )  # fmt: skip


def test_help_names_the_options() -> None:
    done = subprocess.run([*COMMAND, "--help"], env=environment(Path()), capture_output=True, text=True, check=True)
    for option in ("--to", "--model", "--output", "--backend", "--beam-size", "--keep-suspicious", "--check.skip"):
        assert option in done.stdout
