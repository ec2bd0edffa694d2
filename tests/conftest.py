"""Fixtures shared by all tests. Nothing here needs a network or a file outside the repository."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import gzip
import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import hypothesis
import pytest
import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.sparse_encoder.modules import MLMTransformer, SpladePooling
from transformers import AutoTokenizer, BertForMaskedLM

from st_hybrid.cli import app

from .models import save_encoder

# No deadlines: test machines are shared and slow by turns. `pytest --hypothesis-profile=thorough` takes minutes.
hypothesis.settings.register_profile("quick", max_examples=25, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=1000, deadline=None)
hypothesis.settings.load_profile("quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run the tests marked full, which take an hour")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--full"):
        full = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=full)
        items[:] = [item for item in items if item not in full]


@pytest.fixture(scope="session")
def tiny_model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the small untrained SentenceTransformer of :func:`.models.save_encoder`; treat it as read-only."""
    folder = tmp_path_factory.mktemp("tiny-model")
    save_encoder(folder)
    return folder


@pytest.fixture
def has_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that has bfloat16. On others torch imitates it, with the same results."""
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True}, raising=False)


@pytest.fixture
def tiny_model(tiny_model_path: Path) -> SentenceTransformer:
    """A fresh copy, on the CPU, of the model at :func:`tiny_model_path`; a test may train it."""
    return SentenceTransformer(str(tiny_model_path), device="cpu")


@pytest.fixture(scope="session")
def sparse_model_path(tiny_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small untrained SparseEncoder of the same tokens; treat it as read-only."""
    parts, folder = tmp_path_factory.mktemp("sparse-parts"), tmp_path_factory.mktemp("sparse-model")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertForMaskedLM.from_pretrained(tiny_model_path).save_pretrained(parts)
    AutoTokenizer.from_pretrained(tiny_model_path).save_pretrained(parts)
    SparseEncoder(modules=[MLMTransformer(str(parts)), SpladePooling()], device="cpu").save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="session")
def multi_vector_model_path(tiny_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small untrained MultiVectorEncoder of the same tokens; treat it as read-only."""
    folder = tmp_path_factory.mktemp("multi-vector-model")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        MultiVectorEncoder(str(tiny_model_path), device="cpu").save_pretrained(str(folder))
    return folder


@pytest.fixture
def write_miracl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a collection in MIRACL's official layout and gives its folder.

    Query ``q<i>`` asks for the word of passage ``<i>#0``, which is relevant; the passage after it is judged, too.
    """
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets-cache")
    monkeypatch.setenv("ST_HYBRID_CACHE", str(tmp_path / "cache"))

    def write(languages: Sequence[str], *, passages: int, queries: int, files: int = 1) -> Path:
        folder = tmp_path / "miracl"
        for language in languages:
            base, corpus = folder / f"miracl-v1.0-{language}", folder / f"miracl-corpus-v1.0-{language}"
            for part in (base / "topics", base / "qrels", corpus):
                part.mkdir(parents=True)
            name = f"miracl-v1.0-{language}-dev.tsv"
            topics = "".join(f'q{i}\tWhere is "word{i}"?\n' for i in range(queries))
            (base / "topics" / f"topics.{name}").write_text(topics, encoding="utf-8")
            qrels = "".join(f"q{i}\tQ0\t{i}#0\t1\nq{i}\tQ0\t{i + 1}#0\t0\n" for i in range(queries))
            (base / "qrels" / f"qrels.{name}").write_text(qrels, encoding="utf-8")
            bounds = [passages * number // files for number in range(files + 1)]
            for number, (start, stop) in enumerate(pairwise(bounds)):
                with gzip.open(corpus / f"docs-{number}.jsonl.gz", "wt", encoding="utf-8") as lines:
                    for i in range(start, stop):
                        text = f"Passage {language} {i} about word{i}."
                        passage = {"docid": f"{i}#0", "title": f"Title {language} {i}", "text": text}
                        lines.write(json.dumps(passage) + "\n")
        return folder

    return write


@pytest.fixture
def st_hybrid(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command in this process and gives what it printed; for status 1 the message of its error."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object, status: int = 0) -> str:
        try:
            code = app(list(map(str, arguments)), exit_on_error=False, result_action="return_value") or 0
        except (ValueError, TypeError, OSError, ImportError) as error:
            assert status == 1, capsys.readouterr()
            return str(error)
        assert code == status
        captured = capsys.readouterr()
        return captured.out + captured.err

    return run
