"""Encoders with random weights, to train from scratch."""

import tempfile
from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from transformers import DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast

__all__ = ["Scratch", "active_parameters", "scratch_encoder", "trained_tokenizer"]

Size = Annotated[int, Field(ge=1)]


class Scratch(BaseModel):
    """The sizes of a DistilBERT: its hidden size, layers and heads, tokens per text at most, and vocabulary."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: Size
    layers: Size
    heads: Size = 4
    length: Size = 64
    vocabulary: Size = 5000

    @model_validator(mode="after")
    def _fit(self) -> "Scratch":
        if self.hidden % self.heads:
            raise ValueError(f"hidden ({self.hidden}) must be a multiple of heads ({self.heads})")
        return self


def trained_tokenizer(texts: Iterable[str], vocabulary: int, special_tokens: tuple[str, ...] = ("[UNK]",)) -> Tokenizer:
    """A byte-pair encoding of texts in any script, without case."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=[*special_tokens], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def scratch_encoder(sizes: Scratch, texts: Iterable[str], *, seed: int = 0) -> SentenceTransformer:
    """A DistilBERT, which is BERT without its pooler, with random weights and the mean of its tokens as embedding.

    Args:
        sizes: Its sizes.
        texts: Texts to train the vocabulary on.
        seed: Seed of the weights.

    Example:
        ::

            from st_hybrid.study.scratch import Scratch, scratch_encoder

            encoder = scratch_encoder(Scratch(hidden=64, layers=2), ["Who keeps the bees?", "Wer hält die Bienen?"])
    """
    backend = trained_tokenizer(texts, sizes.vocabulary, ("[PAD]", "[UNK]", "[CLS]", "[SEP]"))
    ends = [(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=sizes.length, **special)
    config = DistilBertConfig(
        vocab_size=len(tokenizer),
        dim=sizes.hidden,
        n_layers=sizes.layers,
        n_heads=sizes.heads,
        hidden_dim=4 * sizes.hidden,
        max_position_embeddings=sizes.length,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(seed)
        DistilBertModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = Transformer(folder)
    return SentenceTransformer(modules=[transformer, Pooling(sizes.hidden, "mean"), Normalize()], device="cpu")


def active_parameters(module: nn.Module) -> int:
    """Number of weights without those of embeddings, of which a text uses few, and of a pooler, which none uses."""
    tables = {weight for part in module.modules() if isinstance(part, nn.Embedding) for weight in part.parameters()}
    named = module.named_parameters()
    return sum(weight.numel() for name, weight in named if weight not in tables and ".pooler." not in name)
