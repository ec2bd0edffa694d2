"""What translates: a model, or any function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from st_hybrid.languages import check_language

Ints = NDArray[np.int64]
TranslateFunction = Callable[[list[str], str, str], list[str]]
"""Takes texts, the code of their language and that of another, and returns the translations in the same order."""


@dataclass(frozen=True)
class Decoding:
    """How a model's translations are searched for.

    Args:
        beam_size: Hypotheses kept while searching; 1 is greedy. More of them are a little better and slower.
        max_length: Tokens of a translation at most. It is less for short texts, five times their tokens and 20 more, so
            that one that goes round in circles does not hold up its batch.
        max_source: Tokens of a text that the model reads at most; the rest of a longer one is cut off, and its
            translation counts as suspicious.

    Raises:
        ValueError: A number is not positive.
    """

    beam_size: int = 4
    max_length: int = 256
    max_source: int = 512

    def __post_init__(self) -> None:
        for name in ("beam_size", "max_length", "max_source"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")

    def limit(self, longest: int) -> int:
        """Tokens of a translation at most, in a batch whose longest text has so many."""
        return min(self.max_length, 5 * longest + 20)


@runtime_checkable
class Translator(Protocol):
    """Translates texts; :func:`~st_hybrid.translation.translate_rows` needs nothing else of a model.

    Attributes:
        name: What messages call it.
        max_source: Tokens of a text that it reads at most, or None if it reads any text whole.
    """

    name: str
    max_source: int | None

    def code(self, language: str) -> str:
        """What it calls a language; for a language that it does not have, ValueError says which may be meant."""

    def fingerprint(self) -> str:
        """A string that is another one whenever it would translate otherwise. May load the model."""

    def lengths(self, texts: list[str], source: str) -> Ints:
        """Tokens of each text in a language, called as :meth:`code` says."""

    def translate(self, texts: list[str], source: str, target: str) -> list[str]:
        """Translate one batch, between languages called as :meth:`code` says."""


class FunctionTranslator:
    """Translates with a function: another library, a service, a dictionary.

    Batches are sized by a quarter of a text's bytes in UTF-8, for want of a tokenizer.

    Args:
        function: Called with up to a batch of texts, their language and the target's, by the codes that the rows and
            the caller use; returns as many translations.
        name: Names the function and its version: translations that are kept from an earlier run are taken only if this
            name is the same. By default where the function is defined.

    Example:
        ::

            from st_hybrid.translation import FunctionTranslator

            upper = FunctionTranslator(lambda texts, source, target: [text.upper() for text in texts], name="upper-1")
    """

    max_source: int | None = None

    def __init__(self, function: TranslateFunction, name: str | None = None) -> None:
        self.function = function
        self.name = name or f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"

    def code(self, language: str) -> str:
        """The language's code as it is, if it is one."""
        return check_language(language, self.name)

    def fingerprint(self) -> str:
        """The name."""
        return f"function {self.name}"

    def lengths(self, texts: list[str], source: str) -> Ints:
        """A quarter of the bytes, rounded up."""
        size = pc.binary_length(pa.array(texts, pa.large_string())).to_numpy(zero_copy_only=False)
        return -(-size.astype(np.int64) // 4)

    def translate(self, texts: list[str], source: str, target: str) -> list[str]:
        """Call the function."""
        translations = self.function(texts, source, target)
        if len(translations) != len(texts) or not all(isinstance(text, str) for text in translations):
            raise ValueError(f"{self.name} should give a list of {len(texts)} texts for as many, not {translations!r}.")
        return list(translations)
