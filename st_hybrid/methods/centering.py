"""Subtract each language's mean vector, so that a vector says less about the language of its text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from st_hybrid.files import replacing, write_json
from st_hybrid.grouping import place_in_group
from st_hybrid.rows import ParallelRows

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer

Floats = npt.NDArray[np.float32]
Role = Literal["query", "document"]
Unseen = Literal["error", "keep", "global"]

ROLES: tuple[Role, ...] = ("query", "document")
FOLDER = "language_centering"


class LanguageCentering:
    """Mean vectors of each language, of its queries and of its documents, to subtract from embeddings.

    An encoder that was not trained for mixed-language pools puts the texts of a language close together, so a query
    finds the passages of its own language first. Subtracting the mean vector of each language removes much of this
    without training. It requires the language of every text, when indexing and when searching. Try it before you train,
    and on top of hybrid training.

    Args:
        means: For each role (``"query"``, ``"document"``), the mean vector of each language, shape ``(dimensions,)``.
        unseen: What to do with a text in a language that has no mean: ``"error"`` raises, ``"keep"`` leaves the vector
            as it is, ``"global"`` subtracts the average of the known languages' means.

    Raises:
        ValueError: A role is missing, or the vectors differ in length.

    Example:
        ::

            from sentence_transformers import SentenceTransformer
            from st_hybrid import LanguageCentering

            model = SentenceTransformer("intfloat/multilingual-e5-small")
            centering = LanguageCentering.fit(
                model,
                queries=["Where is the lighthouse?", "Wo steht der Leuchtturm?"],
                query_languages=["en", "de"],
                documents=["It stands on the cliff.", "Er steht auf der Klippe."],
                document_languages=["en", "de"],
            )  # a usable mean takes hundreds of texts per language
            centering.save_pretrained("my-model")
            vectors = centering(model.encode_query(["Wo ist der Hafen?"]), ["de"], "query")

    References:
        The idea is in Shift, Jang et al. 2026, https://arxiv.org/abs/2606.18801
    """

    def __init__(self, means: dict[Role, dict[str, Floats]], unseen: Unseen = "error") -> None:
        if set(means) != set(ROLES):
            raise ValueError(f"Give means for the roles {', '.join(ROLES)}, not for {sorted(means)}.")
        lengths = {vector.shape for vectors in means.values() for vector in vectors.values()}
        if len(lengths) != 1 or len(next(iter(lengths))) != 1:
            raise ValueError(f"The mean vectors must be of one length; their shapes are {sorted(lengths)}.")
        if unseen not in ("error", "keep", "global"):
            raise ValueError(f"unseen must be 'error', 'keep' or 'global', got {unseen!r}.")
        self.means = means
        self.unseen = unseen

    @classmethod
    def from_embeddings(
        cls,
        queries: Floats,
        query_languages: Sequence[str],
        documents: Floats,
        document_languages: Sequence[str],
        *,
        unseen: Unseen = "error",
    ) -> LanguageCentering:
        """Take the means of given embeddings, shapes ``(texts, dimensions)``, of texts in known languages."""
        means = _means("query", queries, query_languages), _means("document", documents, document_languages)
        return cls(dict(zip(ROLES, means, strict=True)), unseen)

    @classmethod
    def fit(
        cls,
        model: SentenceTransformer,
        queries: Sequence[str],
        query_languages: Sequence[str],
        documents: Sequence[str],
        document_languages: Sequence[str],
        *,
        unseen: Unseen = "error",
        batch_size: int = 32,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        show_progress_bar: bool = False,
    ) -> LanguageCentering:
        """Encode texts in known languages and take their means.

        Take texts that are not evaluated, in every language that will be searched. The more alike the languages'
        contents are (translations at best), the less meaning the means remove.

        Args:
            model: The model whose embeddings will be centered; the means fit no other model.
            queries: Texts to encode as queries.
            query_languages: Language of each query.
            documents: Texts to encode as documents.
            document_languages: Language of each document.
            unseen: As for the class.
            batch_size: Texts per encoding batch.
            query_prompt: Text before each query; by default the model's own query prompt.
            document_prompt: Text before each document; by default the model's own document prompt.
            show_progress_bar: Show the progress of encoding.
        """
        _check_lengths("query", queries, query_languages)  # before the encoding
        _check_lengths("document", documents, document_languages)
        options: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
        return cls.from_embeddings(
            model.encode_query(list(queries), prompt=query_prompt, **options),
            query_languages,
            model.encode_document(list(documents), prompt=document_prompt, **options),
            document_languages,
            unseen=unseen,
        )

    @classmethod
    def fit_rows(
        cls,
        model: SentenceTransformer,
        rows: Dataset,
        *,
        columns: Mapping[str, str] = MappingProxyType({}),
        per_language: int = 1000,
        seed: int = 0,
        **options: Any,
    ) -> LanguageCentering:
        """Take the means of the queries and of the positives of parallel rows.

        Args:
            model: The model whose embeddings will be centered.
            rows: Parallel rows.
            columns: As for :class:`~st_hybrid.rows.ParallelRows`.
            per_language: Number of rows to draw per language; some hundreds are enough.
            seed: Seed of the draw.
            **options: The keyword arguments of :meth:`fit`.
        """
        parallel = ParallelRows(rows, columns=columns, negative_columns=[])
        order = np.random.default_rng(seed).permutation(len(parallel))
        drawn = np.sort(order[place_in_group(parallel.language[order]) < per_language])
        texts = parallel.dataset.select(drawn)[:]
        return cls.fit(model, texts["query"], texts["language"], texts["positive"], texts["language"], **options)

    def __call__(self, embeddings: Floats, languages: Sequence[str], role: Role) -> Floats:
        """Subtract from each vector the mean of its language and scale the result to length 1.

        Args:
            embeddings: Vectors of the model that the means were taken from, shape ``(texts, dimensions)``.
            languages: Language of each text.
            role: ``"query"`` or ``"document"``.

        Returns:
            The centered vectors, shape ``(texts, dimensions)``, float32.

        Raises:
            ValueError: A language has no mean and ``unseen`` is ``"error"``, or shapes disagree.
        """
        if role not in self.means:
            raise ValueError(f"role must be 'query' or 'document', got {role!r}.")
        _check_lengths(role, embeddings, languages)
        means = self.means[role]
        names, codes = np.unique(np.asarray(languages), return_inverse=True)
        if self.unseen == "error" and (unknown := [name for name in names.tolist() if name not in means]):
            raise ValueError(
                f"There is no {role} mean for the language {', '.join(unknown)}, only for {', '.join(means)}. Fit the "
                f"means on texts in that language too, or choose unseen='keep' or unseen='global'."
            )
        average = np.mean(list(means.values()), axis=0, dtype=np.float64)
        other = average if self.unseen == "global" else np.zeros_like(average)
        centered = embeddings - np.stack([means.get(name, other) for name in names.tolist()])[codes].astype(np.float32)
        lengths = np.linalg.norm(centered, axis=1, keepdims=True)
        unit: Floats = (centered / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
        return unit

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the means to the folder ``language_centering`` inside ``folder``, usually the model's own."""
        target = Path(folder) / FOLDER
        stacks: dict[str, Floats] = {
            role: np.stack(list(vectors.values())).astype(np.float32) for role, vectors in self.means.items()
        }
        with replacing(target / "means.safetensors") as temporary:
            save_file(stacks, temporary)
        languages = {role: list(vectors) for role, vectors in self.means.items()}
        write_json(target / "config.json", {"languages": languages, "unseen": self.unseen})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> LanguageCentering:
        """Read what :meth:`save_pretrained` wrote; FileNotFoundError if the folder holds no means."""
        source = Path(folder) / FOLDER
        if not (source / "config.json").is_file():
            raise FileNotFoundError(
                f"{folder} holds no language means. Write them with LanguageCentering.save_pretrained or the command "
                "st-hybrid center."
            )
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
        stacks = load_file(source / "means.safetensors")
        return cls(
            {role: dict(zip(config["languages"][role], stacks[role], strict=True)) for role in ROLES}, config["unseen"]
        )


def _means(role: Role, embeddings: Floats, languages: Sequence[str]) -> dict[str, Floats]:
    _check_lengths(role, embeddings, languages)
    names = np.asarray(languages)
    return {
        name: embeddings[names == name].mean(axis=0, dtype=np.float64).astype(np.float32)
        for name in dict.fromkeys(languages)
    }


def _check_lengths(role: Role, texts: Sequence[str] | Floats, languages: Sequence[str]) -> None:
    if len(texts) != len(languages):
        raise ValueError(f"{role}: {len(texts)} texts but {len(languages)} languages. Give a language for each text.")
    if not len(texts):
        raise ValueError(f"{role}: there are no texts.")
