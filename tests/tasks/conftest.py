"""Small collections in the format of XQuAD-R and MLQA-R, in all their languages, and an encoder that counts."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations, cycle
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from mteb.models import ModelMeta
from sentence_transformers import SentenceTransformer

from st_hybrid.evaluation import PUBLISHED_COUNTS

PARAGRAPHS, QUESTIONS = 11, 2


def write_lareqa(folder: Path, name: str, seed: int = 0) -> None:
    """Write every language of a data set: paragraphs of two to four sentences, two questions on each.

    In XQuAD-R every language has every question; in MLQA-R each question has two to four languages, and any two
    languages share one.
    """
    random = np.random.default_rng(seed)
    languages = list(PUBLISHED_COUNTS[name])
    pairs = cycle(combinations(languages, 2))
    present = {
        (paragraph, question): set(
            languages if name == "XQuAD-R" else [*next(pairs), *random.choice(languages, random.integers(0, 3))]
        )
        for paragraph in range(PARAGRAPHS)
        for question in range(QUESTIONS)
    }
    target = folder / name.lower()
    target.mkdir(parents=True)
    for language in languages:
        paragraphs = []
        for paragraph in range(PARAGRAPHS):
            sentences = int(random.integers(2, 5))
            texts = [f"{language}: sentence {k} on matter {paragraph}." for k in range(sentences)]
            starts = np.cumsum([0, *(len(text) + 1 for text in texts)])[:-1].tolist()
            questions = [
                {
                    "id": f"q{paragraph}-{question}",
                    "question": f"{language}: what of matter {paragraph}, point {question}?",
                    "answers": [{"answer_start": starts[question], "text": language}],
                }
                for question in range(QUESTIONS)
                if language in present[paragraph, question]
            ]
            paragraphs.append(
                {
                    "context": " ".join(texts),
                    "sentence_breaks": [[start, start + len(text)] for start, text in zip(starts, texts, strict=True)],
                    "qas": questions,
                }
            )
        document = {"version": "1.0", "data": [{"title": "Matters", "paragraphs": paragraphs}]}
        (target / f"{language}.json").write_text(json.dumps(document), encoding="utf-8")


@pytest.fixture(scope="session")
def lareqa_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``xquad-r`` and ``mlqa-r``."""
    folder = tmp_path_factory.mktemp("lareqa")
    for name in PUBLISHED_COUNTS:
        write_lareqa(folder, name)
    return folder


class CountingEncoder(mteb.SentenceTransformerEncoderWrapper):
    """mteb's wrapper of sentence-transformers, which counts the texts that it encodes by the prompt they get."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__(model)
        self.encoded: Counter[tuple[str, str]] = Counter()

    def encode(self, inputs: Any, *, prompt_type: Any = None, **kwargs: Any) -> Any:
        self.encoded.update((prompt_type.value, text) for batch in inputs for text in batch["text"])
        return super().encode(inputs, prompt_type=prompt_type, **kwargs)


class Reranker:
    """A cross-encoder as mteb knows them."""

    def __init__(self) -> None:
        self.mteb_model_meta = ModelMeta.create_empty(overwrites={"name": "tests/reranker", "revision": "1"})

    def predict(self, inputs1: Any, inputs2: Any, **_: Any) -> np.ndarray:
        return np.zeros(len(inputs1.dataset))


@pytest.fixture
def encoder(tiny_model: SentenceTransformer) -> CountingEncoder:
    return CountingEncoder(tiny_model)
