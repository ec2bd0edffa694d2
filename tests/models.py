"""Small models on disk, for tests and for benchmarks that need no real one."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    M2M100Config,
    M2M100ForConditionalGeneration,
    NllbTokenizer,
    PreTrainedTokenizerFast,
)


def save_encoder(folder: Path) -> None:
    """Save a small untrained SentenceTransformer.

    A real BERT (2 layers of 32 dimensions) whose tokens are the bytes of the text, so that any script has a
    vocabulary of 260 entries, with mean pooling, unit-length output and prompts for queries and for documents.
    """
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}
    for symbol in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[symbol] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = BertModel(config)

    with tempfile.TemporaryDirectory() as parts:
        encoder.save_pretrained(parts)
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            model_max_length=128,
            pad_token="[PAD]",
            unk_token="[UNK]",
            cls_token="[CLS]",
            sep_token="[SEP]",
        ).save_pretrained(parts)
        transformer = Transformer(parts)
    model = SentenceTransformer(
        modules=[transformer, Pooling(transformer.get_embedding_dimension(), "mean"), Normalize()],
        prompts={"query": "query: ", "document": "passage: "},
        device="cpu",
    )
    model.save_pretrained(str(folder))


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


def save_translator(folder: Path) -> None:
    """Save a model with NLLB-200's tokens that translates :data:`WORDS`.

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
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
