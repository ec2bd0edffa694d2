"""Nothing executes from data or models, and what they are called leads nowhere else."""

from __future__ import annotations

import ast
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from st_hybrid import LanguageCentering
from st_hybrid.encoders import load_encoder

PACKAGE = Path(__file__).parent.parent / "st_hybrid"


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (open, (str(self.path), "w"))


def test_the_package_unpickles_unpacks_and_trusts_nothing() -> None:
    refused = {"pickle", "marshal", "shelve", "dill", "tarfile", "zipfile"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = {name.name.split(".")[0] for name in node.names} if isinstance(node, ast.Import) else set()
            names |= {(node.module or "").split(".")[0]} if isinstance(node, ast.ImportFrom) else set()
            # Checkpoints are told apart by the end of their archives, which is not unpacked.
            assert not names & refused or (path.name, names) == ("checkpoints.py", {"zipfile"}), path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("torch.load", "np.load", "exec"), path
                assert not called.endswith((".extractall", ".unpack_archive")), path
                assert not any(word.arg in ("trust_remote_code", "allow_pickle") for word in node.keywords), path


def test_means_are_not_unpickled(tmp_path: Path) -> None:
    means = {"en": np.ones(4, dtype=np.float32)}
    LanguageCentering({"query": means, "document": means}).save_pretrained(tmp_path)
    folder = tmp_path / "language_centering"
    (folder / "model.safetensors").unlink()
    payload = Payload(tmp_path / "executed")
    torch.save({"query_means": payload}, folder / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"weights_only|Weights only|safetensors"):
        LanguageCentering.from_pretrained(tmp_path)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(payload))
    with pytest.raises(Exception, match=r"weights_only|Weights only|safetensors"):
        LanguageCentering.from_pretrained(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_code_in_a_model_s_folder_does_not_run(tiny_model: SentenceTransformer, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny_model.save_pretrained(str(folder))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\nclass Evil: pass\n", encoding="utf-8")
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    own = {"idx": 3, "name": "3", "path": "language_centering", "type": "st_hybrid.methods.centering.LanguageCentering"}
    for extra in ([], [own]):  # with a module of this package, which needs no trust of the caller
        means = {"en": np.ones(32, dtype=np.float32)}
        LanguageCentering({"query": means, "document": means}).save_pretrained(folder)
        evil = {"idx": 4, "name": "4", "path": "", "type": "evil.Evil"}
        (folder / "modules.json").write_text(json.dumps([*modules, *extra, evil]), encoding="utf-8")
        with pytest.raises((ValueError, ImportError, OSError)):
            load_encoder(folder)
        assert not (tmp_path / "executed").exists()
