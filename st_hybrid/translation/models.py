"""What translates: NLLB-200 and M2M100 through transformers or CTranslate2, or any function."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, get_args

import numpy as np

from st_hybrid.files import cache_folder, replacing, sha256
from st_hybrid.grouping import Ints
from st_hybrid.languages import check_language, close_languages, language_tag, suggestion, supported_code

# torch, transformers and CTranslate2 are imported where they are used: the options load fast.

TranslateFunction = Callable[[list[str], str, str], list[str]]
"""Takes texts, the code of their language and the target's, and returns the translations in the same order."""

_Float = Literal["float32", "float16", "bfloat16"]
ComputeType = Literal[_Float, "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16"]
_FLORES_TOKEN, _M2M_TOKEN = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}"), re.compile(r"__([a-z]{2,3})__")


@dataclass(frozen=True)
class ModelOptions:
    """How a translation model runs.

    Args:
        backend: What runs the model. ``ctranslate2`` is faster; it comes with the extra ``translate``.
        device: ``cpu``, ``cuda`` or ``cuda:1``. By default a GPU if there is one.
        compute_type: The number type. transformers has ``float32``, ``float16`` and ``bfloat16`` (float16 on a GPU and
            float32 elsewhere by default); ``int8`` of ctranslate2 is the fastest on a CPU (as stored by default).
        tokenizer: Folder or hub name of the tokenizer, if the model's folder has none.
        beam_size: Hypotheses kept in beam search; 1 is greedy. More are slightly better and slower.
        max_length: Most tokens in a sentence's translation; 20 plus five times its batch's longest is another limit.
        max_source_length: Tokens that the model reads. Translations of longer sentences count as suspicious.
    """

    backend: Literal["transformers", "ctranslate2"] = "transformers"
    device: str | None = None
    compute_type: ComputeType | None = None
    tokenizer: str | None = None
    beam_size: int = 4
    max_length: int = 256
    max_source_length: int = 512

    def __post_init__(self) -> None:
        for name in ("beam_size", "max_length", "max_source_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")
        types = get_args(_Float if self.backend == "transformers" else ComputeType)
        if self.compute_type is not None and self.compute_type not in types:
            raise ValueError(f"compute_type must be one of {', '.join(types)}, got {self.compute_type!r}.")

    def limit(self, longest: int) -> int:
        """Largest number of tokens in a translation, in a batch whose longest text has ``longest`` tokens."""
        return min(self.max_length, 5 * longest + 20)


class FunctionTranslator:
    """Translates with a function: another library, a service, a dictionary.

    Args:
        function: Called with a batch of texts, their language and the target language. Returns their translations.
        name: Name and version of the function, for the journal; by default the place where it is defined.

    Example:
        ::

            from st_hybrid.translation import FunctionTranslator

            upper = FunctionTranslator(lambda texts, source, target: [text.upper() for text in texts], name="upper-1")
            print(upper.translate(["hello"], "en", "de"))  # ['HELLO']
    """

    max_source_length: int | None = None  #: Tokens of a text that the function reads, or None if it reads any.

    def __init__(self, function: TranslateFunction, name: str | None = None) -> None:
        self.function = function
        self.name = name or f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"

    def code(self, language: str) -> str:
        """What the function calls a language: the code itself. ValueError if it is none."""
        return check_language(language, self.name)

    def fingerprint(self) -> str:
        """A string that changes whenever translations may."""
        return f"function {self.name}"

    def lengths(self, texts: list[str], source: str) -> Ints:
        """Tokens of each text: a quarter of its bytes in UTF-8."""
        return np.array([-(-len(text.encode()) // 4) for text in texts], dtype=np.int64)

    def translate(self, texts: list[str], source: str, target: str) -> list[str]:
        """Translate one batch."""
        return list(self.function(texts, source, target))


class ModelTranslator:
    """Translates with NLLB-200 (arXiv 2207.04672) or M2M100 (2010.11125), through transformers or CTranslate2.

    CTranslate2 runs a converted model. It is made once, in the user's cache folder or the one in ``ST_HYBRID_CACHE``.

    Args:
        model: A model's folder or hub name: ``facebook/nllb-200-distilled-600M``, ``facebook/m2m100_418M``. For
            CTranslate2 also the folder of a converted model, with ``model.bin``.
        options: How the model runs.

    Raises:
        OSError: There is no such model or tokenizer.
        ValueError: The model is of another kind.

    Example:
        ::

            from st_hybrid.translation import ModelOptions, ModelTranslator

            options = ModelOptions(backend="ctranslate2", compute_type="int8")
            translator = ModelTranslator("facebook/m2m100_418M", options)
            translator.translate(["How are you?"], translator.code("en"), translator.code("de"))
    """

    def __init__(self, model: str | Path, options: ModelOptions | None = None) -> None:
        from transformers import AutoTokenizer

        self.name, self.options = str(model), options or ModelOptions()
        self.max_source_length: int | None = self.options.max_source_length
        if self.options.backend == "ctranslate2":
            _ctranslate2()
        name = self.options.tokenizer or self.name
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(name)
        except OSError as error:
            text = f"There is no tokenizer for {name}: it is neither a folder with one nor a model on the hub."
            raise OSError(text) from error
        vocabulary: dict[str, int] = self.tokenizer.get_vocab()
        names = {*vocabulary, *getattr(self.tokenizer, "lang_token_to_id", ())}
        tokens = {found[1]: found[0] for name in names if (found := _M2M_TOKEN.fullmatch(name))}
        self.languages = tokens or {name: name for name in names if _FLORES_TOKEN.fullmatch(name)}
        if len(self.languages) < 2:
            raise ValueError(f"{model} is neither NLLB-200 nor M2M100. A Python function can translate with any model.")
        languages = map(self.tokenizer.convert_tokens_to_ids, self.languages.values())
        self._text_ids = frozenset(vocabulary.values()) - frozenset(languages)

    @cached_property
    def engine(self) -> _Transformers | _CTranslate2:
        """What runs the model, loaded."""
        return (_CTranslate2 if self.options.backend == "ctranslate2" else _Transformers)(self)

    @cached_property
    def version(self) -> str:
        """The commit of a model on the hub, or the checksum of its folder."""
        from transformers import AutoConfig

        on_hub = not Path(self.name).is_dir()
        return str(AutoConfig.from_pretrained(self.name)._commit_hash) if on_hub else sha256(self.name)

    def code(self, language: str) -> str:
        """The model's code of a language."""
        if found := supported_code(language, self.languages):
            return found
        close = [code for code in close_languages(language) if supported_code(code, self.languages)]
        languages = f"It has {', '.join(sorted(map(language_tag, self.languages)))}."
        raise ValueError(f"{self.name} has no language {language!r}. {suggestion(close) or languages}")

    def fingerprint(self) -> str:
        """A string of the model's version and the settings."""
        return f"{self.version} {self.engine.compute_type} {replace(self.options, device=None, compute_type=None)}"

    def lengths(self, texts: list[str], source: str) -> Ints:
        """Tokens of each text, including special tokens, before any is cut off."""
        parts = (texts[start : start + 10_000] for start in range(0, len(texts), 10_000))  # to hold few ids
        return np.array([len(ids) for part in parts for ids in self.encode(part, source, cut=False)], dtype=np.int64)

    def translate(self, texts: list[str], source: str, target: str) -> list[str]:
        """Translate one batch."""
        return [self.decode(ids) for ids in self.engine.translate(self.encode(texts, source), self.languages[target])]

    def encode(self, texts: list[str], source: str, *, cut: bool = True) -> list[list[int]]:
        """The ids of texts with special tokens, cut off at ``max_source_length`` unless ``cut`` is False."""
        self.tokenizer.src_lang = source
        longest = self.max_source_length if cut else None
        return self.tokenizer(texts, truncation=cut, max_length=longest, verbose=False)["input_ids"] if texts else []

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, without special tokens, languages and embeddings that belong to no token."""
        kept = [number for number in ids if number in self._text_ids]
        return self.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()


class _Transformers:
    def __init__(self, translator: ModelTranslator) -> None:
        import torch
        from transformers import AutoModelForSeq2SeqLM

        self.options, self.tokenizer = translator.options, translator.tokenizer
        device = self.options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.compute_type = self.options.compute_type or ("float16" if device.startswith("cuda") else "float32")
        model: Any = AutoModelForSeq2SeqLM.from_pretrained(translator.name, dtype=self.compute_type)
        self.model = model.to(device).eval()

    def translate(self, ids: list[list[int]], language: str) -> list[list[int]]:
        padded = self.tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self.model.device)
        return self.model.generate(
            **padded,
            forced_bos_token_id=self.tokenizer.convert_tokens_to_ids(language),
            num_beams=self.options.beam_size,
            max_length=None,
            max_new_tokens=self.options.limit(padded["input_ids"].shape[1]),
            do_sample=False,
            # Score hypotheses and end the search as CTranslate2 does, so that both give the same translations.
            length_penalty=1.0,
            early_stopping=self.options.beam_size > 1,
        ).tolist()


class _CTranslate2:
    def __init__(self, translator: ModelTranslator) -> None:
        self.options, self.tokenizer = translator.options, translator.tokenizer
        self.folder = Path(translator.name)
        if not (self.folder / "model.bin").is_file():
            name = f"{self.folder.name}-{self.options.compute_type or 'stored'}-{translator.version[:12]}"
            self.folder = cache_folder() / "ctranslate2" / name
            if not self.folder.is_dir():
                self._convert(translator.name)
        package = _ctranslate2()
        device = self.options.device or ("cuda" if package.get_cuda_device_count() else "cpu")
        kind, _, index = device.partition(":")
        numbers = self.options.compute_type or "default"
        self.model = package.Translator(str(self.folder), kind, device_index=int(index or 0), compute_type=numbers)
        self.compute_type = self.model.compute_type

    def translate(self, ids: list[list[int]], language: str) -> list[list[int]]:
        results = self.model.translate_batch(
            [self.tokenizer.convert_ids_to_tokens(row) for row in ids],
            target_prefix=[[language]] * len(ids),
            beam_size=self.options.beam_size,
            max_input_length=0,
            max_decoding_length=self.options.limit(max(map(len, ids))),
        )
        return [self.tokenizer.convert_tokens_to_ids(result.hypotheses[0]) for result in results]

    def _convert(self, model: str) -> None:
        from transformers import AutoConfig

        converter: Any = _ctranslate2().converters.TransformersConverter
        vocabulary = {}  # CTranslate2 takes it from the tokenizer, whose own lacks M2M100's languages
        for number in range(AutoConfig.from_pretrained(model).vocab_size):
            token = self.tokenizer.convert_ids_to_tokens(number)
            own = token is not None and self.tokenizer.convert_tokens_to_ids(token) == number
            vocabulary[token if own else f"unused {number}"] = number
        used = ("bos_token", "eos_token", "unk_token", "unk_token_id", "convert_ids_to_tokens")
        parts: dict[str, Any] = {name: getattr(self.tokenizer, name) for name in used}
        parts |= {"get_vocab": lambda: vocabulary, "num_madeup_words": 0, "special_tokens_map": {}}

        class Converter(converter):
            def load_tokenizer(self, *_: Any, **__: Any) -> Any:
                return SimpleNamespace(**parts)

        try:
            with replacing(self.folder) as temporary:
                Converter(model).convert(str(temporary), quantization=self.options.compute_type)
        except OSError:
            if not self.folder.is_dir():  # which another process may have made in the meantime
                raise


def _ctranslate2() -> Any:
    try:
        import ctranslate2.converters
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("This back end needs CTranslate2: pip install 'st-hybrid[translate]'.") from error
    return ctranslate2
