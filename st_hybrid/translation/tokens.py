"""The tokens of NLLB-200 and M2M100: texts and languages to tokens, and tokens to text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from st_hybrid.translation.codes import LANGUAGES, Family, model_code
from st_hybrid.translation.translator import Ints

_FLORES_CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")
_M2M_TOKEN = re.compile(r"__([a-z]{2,3})__")


class ModelTokens:
    """The tokenizer of a model of NLLB-200's or M2M100's kind, with the codes of its languages.

    Args:
        model: A model's folder or hub name.
        max_source: Tokens of a text at most; more are cut off.

    Raises:
        OSError: There is no such model.
        ValueError: Its tokenizer has no tokens of languages as these two have them.
    """

    def __init__(self, model: str | Path, max_source: int) -> None:
        self.name, self.max_source = str(model), max_source
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(str(model))
        except OSError as error:
            raise OSError(
                f"There is no tokenizer for {model}: it is neither a folder here with one nor a model that the hub "
                "gives. Check the path or the name, and the network if it is on the hub."
            ) from error
        names = {*self.tokenizer.get_vocab(), *getattr(self.tokenizer, "lang_token_to_id", ())}
        flores = {code for row in LANGUAGES if (code := row.flores) is not None and code in names}
        flores |= {name for name in self.tokenizer.all_special_tokens if _FLORES_CODE.fullmatch(name)}
        m2m = {match[1] for name in names if (match := _M2M_TOKEN.fullmatch(name))}
        if len(flores) < 2 and len(m2m) < 2:
            raise ValueError(
                f"{model} is neither of NLLB-200's nor of M2M100's kind: its tokenizer has no languages. Any other "
                "model can be used from Python, as a function."
            )
        self.family: Family = "flores" if len(flores) > 1 else "m2m"
        self.codes = frozenset(flores if self.family == "flores" else m2m)
        self._text_ids = frozenset(self.tokenizer.get_vocab().values())
        self._text_ids -= {self.token_id(self.language_token(code)) for code in self.codes}
        self._digest = self._fingerprint()

    def code(self, language: str) -> str:
        """What the model calls a language."""
        return model_code(language, self.codes, self.family, self.name)

    def language_token(self, code: str) -> str:
        """The token of a language."""
        return code if self.family == "flores" else f"__{code}__"

    def encode(self, texts: list[str], source: str) -> list[list[int]]:
        """The ids of texts as the model reads them, with the special ones, cut off at ``max_source``."""
        self.tokenizer.src_lang = source
        ids: list[list[int]] = self.tokenizer(texts, truncation=True, max_length=self.max_source)["input_ids"]
        return ids

    def lengths(self, texts: list[str], source: str) -> Ints:
        """Tokens of each text, with the special ones, of long texts too."""
        self.tokenizer.src_lang = source
        encoded = self.tokenizer(texts, truncation=False, verbose=False)["input_ids"] if texts else []
        return np.fromiter(map(len, encoded), dtype=np.int64, count=len(texts))

    def token_id(self, token: str) -> int:
        """The id of a token."""
        return int(self.tokenizer.convert_tokens_to_ids(token))

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens of ids."""
        return list(self.tokenizer.convert_ids_to_tokens(list(ids)))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; special ones, languages and those that no token has, as a model may have more, left out."""
        kept = [number for number in ids if number in self._text_ids]
        text: str = self.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.strip()

    def fingerprint(self) -> str:
        """A SHA-256 sum, in hexadecimal, of what the tokenizer makes of texts."""
        return self._digest

    def _fingerprint(self) -> str:
        self.tokenizer.src_lang = sorted(self.codes)[0]  # which is part of a tokenizer's state
        digest = hashlib.sha256(repr(sorted(self.tokenizer.get_vocab().items())).encode())
        if pieces := getattr(self.tokenizer, "sp_model", None):
            digest.update(pieces.serialized_model_proto())
        if backend := getattr(self.tokenizer, "backend_tokenizer", None):
            digest.update(backend.to_str().encode())
        return digest.hexdigest()
