"""Small models of NLLB-200's and M2M100's architecture, each with a tokenizer of its kind."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import sentencepiece
import torch
from transformers import M2M100Config, M2M100ForConditionalGeneration, M2M100Tokenizer, NllbTokenizer

WORDS = {
    "eng_Latn": ["sun", "rain", "wind", "snow", "moon", "star", "cloud", "storm"],
    "deu_Latn": ["Sonne", "Regen", "Wind", "Schnee", "Mond", "Stern", "Wolke", "Sturm"],
    "rus_Cyrl": ["солнце", "дождь", "ветер", "снег", "луна", "звезда", "облако", "буря"],
}
"""What the trained model can translate, word by word, from English."""


def translate_words(text: str, language: str) -> str:
    """What the trained model should make of up to four English words."""
    return " ".join(WORDS[language][WORDS["eng_Latn"].index(word)] for word in text.split())


def configuration(vocabulary: int, spread: float) -> M2M100Config:
    return M2M100Config(
        vocab_size=vocabulary,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=128,
        dropout=0.0,
        attention_dropout=0.0,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        init_std=spread,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
    )


def padded(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])


@pytest.fixture(scope="session")
def nllb_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model with NLLB-200's tokens that translates :data:`WORDS`; treat it as read-only.

    Each word is one token. It is trained for some seconds, so that its translations are right and no accident.
    """
    vocabulary, merges = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}, []
    for word in (f"▁{word}" for words in WORDS.values() for word in words):
        for character in word:
            vocabulary.setdefault(character, len(vocabulary))
        for end in range(1, len(word)):
            merges.append((word[:end], word[end]))
            vocabulary.setdefault(word[: end + 1], len(vocabulary))
    tokenizer = NllbTokenizer(vocab=vocabulary, merges=list(dict.fromkeys(merges)), extra_special_tokens=[*WORDS])
    drawn = random.Random(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = M2M100ForConditionalGeneration(configuration(len(tokenizer) + 5, 0.1))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=250)
        for _ in range(250):
            sources, targets = [], []
            for _ in range(32):
                text = " ".join(drawn.choices(WORDS["eng_Latn"], k=drawn.randint(1, 4)))
                language = drawn.choice(["deu_Latn", "rus_Cyrl"])
                for rows, code, said in (
                    (sources, "eng_Latn", text),
                    (targets, language, translate_words(text, language)),
                ):
                    rows.append(tokenizer.convert_tokens_to_ids([code, *tokenizer.tokenize(said), "</s>"]))
            ids = padded(sources, 1)
            loss = model(input_ids=ids, attention_mask=(ids != 1).long(), labels=padded(targets, -100)).loss
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("nllb")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
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
