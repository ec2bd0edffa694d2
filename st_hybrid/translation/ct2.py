"""NLLB-200 and M2M100 through CTranslate2."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from st_hybrid.files import cache_folder
from st_hybrid.translation.tokens import ModelTokens
from st_hybrid.translation.translator import Decoding, Ints

COMPUTE_TYPES = (
    "default",
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
    "int16",
    "float16",
    "bfloat16",
    "float32",
)
"""What CTranslate2 computes in; ``default`` is the type that the model was stored in."""

_MODEL = "model.bin"


class CTranslate2Translator:
    """Translates with a model of NLLB-200's or M2M100's kind through CTranslate2, which is made for speed.

    Args:
        model: A model's folder or hub name, as transformers knows it, or a folder with a model converted already
            (``model.bin``). The tokenizer is loaded at once; the model is converted and loaded when it is first needed.
        decoding: How translations are searched for.
        device: ``"cpu"``, ``"cuda"`` or one of several, ``"cuda:1"``; by default a GPU if there is one.
        compute_type: One of :data:`COMPUTE_TYPES`. ``"int8"`` is the fastest on a CPU, in a quarter of the memory.
        tokenizer: Folder or hub name of the tokenizer, for a converted model whose folder has none.
        converted: Folder to convert the model into, once; by default one for this model in the user's cache folder, or
            in the one that ``ST_HYBRID_CACHE`` names.
        threads: Threads of a batch on a CPU; 0 for CTranslate2's choice, or ``OMP_NUM_THREADS``.

    Raises:
        ModuleNotFoundError: CTranslate2 is not installed.
        OSError: There is no such model or tokenizer.
        ValueError: The model is of another kind, or there is no such compute type.

    Example:
        ::

            from st_hybrid.translation import CTranslate2Translator

            translator = CTranslate2Translator("facebook/m2m100_418M", compute_type="int8")
            translator.translate(["How are you?"], translator.code("en"), translator.code("de"))

    References:
        https://github.com/OpenNMT/CTranslate2
    """

    def __init__(
        self,
        model: str | Path,
        *,
        decoding: Decoding | None = None,
        device: str | None = None,
        compute_type: str = "default",
        tokenizer: str | Path | None = None,
        converted: str | Path | None = None,
        threads: int = 0,
    ) -> None:
        try:
            import ctranslate2  # noqa: F401
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("For this back end: pip install 'st-hybrid[translate]'.") from error
        if compute_type not in COMPUTE_TYPES:
            raise ValueError(f"compute_type must be one of {', '.join(COMPUTE_TYPES)}, got {compute_type!r}.")
        self.name, self.decoding = str(model), decoding or Decoding()
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.compute_type, self.threads = compute_type, threads
        self.tokens = ModelTokens(tokenizer or model, self.decoding.max_source)
        self.max_source: int | None = self.decoding.max_source
        self._converted = Path(converted) if converted else None
        self._translator: Any = None

    @property
    def folder(self) -> Path:
        """The folder of the converted model, which is converted now if it was not."""
        if (Path(self.name) / _MODEL).is_file():
            return Path(self.name)
        folder = self._converted or cache_folder() / "ctranslate2" / self._conversion()
        if not (folder / _MODEL).is_file():
            convert(self.name, self.tokens, folder, self.compute_type)
        return folder

    @property
    def model(self) -> Any:
        """The ``ctranslate2.Translator``, loaded."""
        if self._translator is None:
            import ctranslate2

            device, _, index = self.device.partition(":")
            self._translator = ctranslate2.Translator(
                str(self.folder),
                device=device,
                device_index=int(index or 0),
                compute_type=self.compute_type,
                intra_threads=self.threads,
            )
        return self._translator

    def code(self, language: str) -> str:
        """What the model calls a language."""
        return self.tokens.code(language)

    def fingerprint(self) -> str:
        """A SHA-256 sum of weights, tokenizer and settings."""
        digest = hashlib.sha256()
        for path in sorted(file for file in self.folder.iterdir() if file.is_file()):
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                while chunk := file.read(1 << 24):
                    digest.update(chunk)
        settings = ("ctranslate2", self.tokens.fingerprint(), self.model.compute_type, repr(self.decoding))
        digest.update("\n".join(settings).encode())
        return digest.hexdigest()

    def lengths(self, texts: list[str], source: str) -> Ints:
        """Tokens of each text."""
        return self.tokens.lengths(texts, source)

    def translate(self, texts: list[str], source: str, target: str) -> list[str]:
        """Translate one batch."""
        ids = self.tokens.encode(texts, source)
        prefix = [self.tokens.language_token(target)]
        results = self.model.translate_batch(
            [self.tokens.tokens(row) for row in ids],
            target_prefix=[prefix] * len(ids),
            beam_size=self.decoding.beam_size,
            max_input_length=0,
            max_decoding_length=self.decoding.limit(max(map(len, ids))),
        )
        return [
            self.tokens.decode(self.tokens.tokenizer.convert_tokens_to_ids(result.hypotheses[0])) for result in results
        ]

    def _conversion(self) -> str:
        """A name for the folder of this model as it is and this compute type."""
        path = Path(self.name)
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.is_file())
            state = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
            known = repr((str(path.resolve()), state))
        else:
            known = repr((self.name, getattr(AutoConfig.from_pretrained(self.name), "_commit_hash", None)))
        return f"{path.name}-{self.compute_type}-{hashlib.sha256(known.encode()).hexdigest()[:12]}"


def convert(model: str | Path, tokens: ModelTokens, folder: Path, compute_type: str = "default") -> None:
    """Convert a model of transformers; the folder appears when it is whole.

    Args:
        model: A model's folder or hub name.
        tokens: Its tokens.
        folder: Folder to write.
        compute_type: One of :data:`COMPUTE_TYPES`.
    """
    from ctranslate2.converters import TransformersConverter

    class Converter(TransformersConverter):
        """Takes every token's place from the tokenizer; the languages of M2M100 are not in its vocabulary."""

        def load_tokenizer(self, tokenizer_class: Any, name: str, **options: Any) -> Any:
            return _WholeVocabulary(tokens.tokenizer, AutoConfig.from_pretrained(name).vocab_size)

    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    try:
        Converter(str(model)).convert(str(part), quantization=None if compute_type == "default" else compute_type)
        shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


class _WholeVocabulary:
    """A tokenizer with a token for each row of the model's embeddings."""

    num_madeup_words = 0
    special_tokens_map: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, tokenizer: Any, size: int) -> None:
        self._tokenizer, self._size = tokenizer, size

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def get_vocab(self) -> dict[str, int]:
        """Tokens and their ids; rows that no token has get names of their own."""
        vocabulary = {}
        for number in range(self._size):
            token = self._tokenizer.convert_ids_to_tokens(number)
            own = token is not None and self._tokenizer.convert_tokens_to_ids(token) == number
            vocabulary[token if own else f"unused {number}"] = number
        return vocabulary
