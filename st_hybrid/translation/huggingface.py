"""NLLB-200 and M2M100 through transformers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM

from st_hybrid.search.fingerprint import model_fingerprint
from st_hybrid.translation.tokens import ModelTokens
from st_hybrid.translation.translator import Decoding, Ints


class TransformersTranslator:
    """Translates with a model of NLLB-200's or M2M100's kind through transformers.

    On a CPU :class:`~st_hybrid.translation.CTranslate2Translator` is faster.

    Args:
        model: A model's folder or hub name, such as ``facebook/nllb-200-distilled-600M`` or ``facebook/m2m100_418M``.
            Its tokenizer is loaded at once, the model when it is first needed.
        decoding: How translations are searched for.
        device: Such as ``"cpu"`` or ``"cuda:1"``; by default a GPU if there is one.
        dtype: ``"float32"``, ``"float16"`` or ``"bfloat16"``; by default float16 on a GPU, float32 elsewhere.

    Raises:
        OSError: There is no such model.
        ValueError: It is of another kind, or there is no such dtype.

    Example:
        ::

            from st_hybrid.translation import TransformersTranslator

            translator = TransformersTranslator("facebook/nllb-200-distilled-600M")
            translator.translate(["How are you?"], translator.code("en"), translator.code("de"))

    References:
        NLLB-200: https://arxiv.org/abs/2207.04672. M2M100: https://arxiv.org/abs/2010.11125.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        decoding: Decoding | None = None,
        device: str | torch.device | None = None,
        dtype: str | None = None,
    ) -> None:
        self.name, self.decoding = str(model), decoding or Decoding()
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.dtype = dtype or ("float16" if self.device.type == "cuda" else "float32")
        if self.dtype not in ("float32", "float16", "bfloat16"):
            raise ValueError(f"dtype must be float32, float16 or bfloat16, got {dtype!r}.")
        self.tokens = ModelTokens(model, self.decoding.max_source)
        self.max_source: int | None = self.decoding.max_source
        self._model: Any = None

    @property
    def model(self) -> Any:
        """The model, loaded."""
        if self._model is None:
            model = AutoModelForSeq2SeqLM.from_pretrained(self.name, dtype=getattr(torch, self.dtype))
            self._model = model.to(self.device).eval()
        return self._model

    def code(self, language: str) -> str:
        """What the model calls a language."""
        return self.tokens.code(language)

    def fingerprint(self) -> str:
        """A SHA-256 sum of weights, tokenizer and settings."""
        settings = ("transformers", self.tokens.fingerprint(), self.dtype, repr(self.decoding))
        return hashlib.sha256(model_fingerprint(self.model, settings).encode()).hexdigest()

    def lengths(self, texts: list[str], source: str) -> Ints:
        """Tokens of each text."""
        return self.tokens.lengths(texts, source)

    @torch.inference_mode()
    def translate(self, texts: list[str], source: str, target: str) -> list[str]:
        """Translate one batch."""
        ids = self.tokens.encode(texts, source)
        inputs = self.tokens.tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self.device)
        found = self.model.generate(
            **inputs,
            forced_bos_token_id=self.tokens.token_id(self.tokens.language_token(target)),
            num_beams=self.decoding.beam_size,
            max_length=None,
            max_new_tokens=self.decoding.limit(inputs["input_ids"].shape[1]),
            do_sample=False,
            # Hypotheses are weighed and the search ends as in CTranslate2, which so finds the same.
            length_penalty=1.0,
            early_stopping=self.decoding.beam_size > 1,
        )
        return [self.tokens.decode(row) for row in found.tolist()]
