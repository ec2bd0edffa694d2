"""Small models of NLLB-200's and M2M100's architecture, each with a tokenizer of its kind."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest
import sentencepiece
import torch
from transformers import M2M100ForConditionalGeneration, M2M100Tokenizer

from tests.models import configuration, save_translator


@pytest.fixture(scope="session")
def nllb_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the model of :func:`~tests.models.save_translator`; treat it as read-only."""
    folder = tmp_path_factory.mktemp("nllb")
    save_translator(folder)
    return folder


@pytest.fixture(scope="session")
def m2m_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an untrained model with M2M100's own tokenizer, SentencePiece and all; treat it as read-only."""
    folder = tmp_path_factory.mktemp("m2m")
    drawn = random.Random(0)
    words = ["".join(drawn.choices("abdeiklmnoprstu", k=drawn.randint(2, 6))) for _ in range(100)]
    stored = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(" ".join(drawn.choices(words, k=8)) for _ in range(300)),
        model_writer=stored,
        vocab_size=80,
        minloglevel=2,
    )
    (folder / "sentencepiece.bpe.model").write_bytes(stored.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=stored.getvalue())
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    for number in range(pieces.get_piece_size()):
        vocabulary.setdefault(pieces.id_to_piece(number), len(vocabulary))
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    tokenizer = M2M100Tokenizer(str(folder / "vocab.json"), str(folder / "sentencepiece.bpe.model"))
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size = len(vocabulary) + len(tokenizer.lang_code_to_token) + tokenizer.num_madeup_words
        # Weights large enough that what it says depends on what it reads.
        M2M100ForConditionalGeneration(configuration(size, 0.5)).save_pretrained(folder)
    return folder
