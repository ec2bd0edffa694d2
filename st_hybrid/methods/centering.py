"""Subtract each language's mean vector, so that a vector says less about the language of its text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer

Floats = npt.NDArray[np.float32]
Role = Literal["query", "document"]
Unseen = Literal["error", "keep", "global"]

ROLES: tuple[Role, ...] = ("query", "document")
FOLDER = "language_centering"


class LanguageCentering:
    """Mean vectors of each language, one for its queries and one for its documents, to subtract from embeddings.

    An encoder that was not trained for mixed-language pools puts the texts of a language close together, so a query
    finds the passages of its own language first. Subtracting the mean vector of each language removes much of this
    without training. The price is that the language of every text must be known, when indexing and when searching.
    Try it first, and beside hybrid training.

    Source: the idea of Shift, Jang et al. 2026, https://arxiv.org/abs/2606.18801.

    Args:
        means: For each role (``"query"``, ``"document"``), the mean vector of each language, shape ``(dimensions,)``.
        unseen: What to do with a text in a language that has no mean: ``"error"`` raises, ``"keep"`` leaves the vector
            as it is, ``"global"`` subtracts the average of the known languages' means.

    Raises:
        ValueError: If a role is missing, or the vectors differ in length.

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
            )  # hundreds of texts a language make a usable mean
            centering.save_pretrained("my-model")
            vectors = centering(model.encode_query(["Wo ist der Hafen?"]), ["de"], "query")
    """

    def __init__(self, means: dict[Role, dict[str, Floats]], unseen: Unseen = "error") -> None:
        if set(means) != set(ROLES):
            raise ValueError(f"Means are needed for the roles {', '.join(ROLES)}; given are {sorted(means)}.")
        lengths = {vector.shape for vectors in means.values() for vector in vectors.values()}
        if len(lengths) != 1 or len(next(iter(lengths))) != 1:
            raise ValueError(f"The mean vectors must be of one length; their shapes are {sorted(lengths)}.")
        if unseen not in ("error", "keep", "global"):
            raise ValueError(f"unseen must be 'error', 'keep' or 'global', not {unseen!r}.")
        self.means = means
        self.unseen = unseen

    def __repr__(self) -> str:
        languages = {role: " ".join(vectors) for role, vectors in self.means.items()}
        return f"{type(self).__name__}({languages}, unseen={self.unseen!r})"

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
        """Take the means of given embeddings.

        Args:
            queries: Query embeddings, shape ``(queries, dimensions)``.
            query_languages: Language of each query.
            documents: Document embeddings, shape ``(documents, dimensions)``.
            document_languages: Language of each document.
            unseen: See :class:`LanguageCentering`.
        """
        return cls(
            {"query": _means(queries, query_languages), "document": _means(documents, document_languages)}, unseen
        )

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
        contents are (translations at best), the less of the meaning goes with the mean.

        Args:
            model: The model whose embeddings will be centred; means of one model are of no use to another.
            queries: Texts to encode as queries.
            query_languages: Language of each query.
            documents: Texts to encode as documents.
            document_languages: Language of each document.
            unseen: See :class:`LanguageCentering`.
            batch_size: Texts encoded at once.
            query_prompt: Text put before each query; by default the model's own query prompt.
            document_prompt: Text put before each document; by default the model's own document prompt.
            show_progress_bar: Show the progress of encoding.
        """
        for what, texts, languages in (
            ("query", queries, query_languages),
            ("document", documents, document_languages),
        ):
            _check_lengths(what, len(texts), len(languages))
        return cls.from_embeddings(
            model.encode_query(
                list(queries), prompt=query_prompt, batch_size=batch_size, show_progress_bar=show_progress_bar
            ),
            query_languages,
            model.encode_document(
                list(documents), prompt=document_prompt, batch_size=batch_size, show_progress_bar=show_progress_bar
            ),
            document_languages,
            unseen=unseen,
        )

    @classmethod
    def fit_rows(
        cls, model: SentenceTransformer, rows: Dataset, *, per_language: int = 1000, seed: int = 0, **options: Any
    ) -> LanguageCentering:
        """Take the means of parallel rows: of their queries and of their positives.

        Args:
            model: The model whose embeddings will be centred.
            rows: Parallel rows with the columns ``language``, ``query`` and ``positive``.
            per_language: At most so many rows of each language; a mean needs no more than some hundreds.
            seed: Seed of the draw.
            **options: The keyword arguments of :meth:`fit`.

        Raises:
            ValueError: If a column is missing.
        """
        if missing := {"language", "query", "positive"} - set(rows.column_names):
            raise ValueError(f"The rows have no column {', '.join(sorted(missing))}. Rename yours with rename_column.")
        language = np.asarray(rows["language"][:])
        order = np.random.default_rng(seed).permutation(len(language))
        drawn = np.concatenate([order[language[order] == name][:per_language] for name in np.unique(language)])
        some = rows.select(np.sort(drawn))
        languages = some["language"][:]
        return cls.fit(model, some["query"][:], languages, some["positive"][:], languages, **options)

    def __call__(self, embeddings: Floats, languages: Sequence[str], role: Role) -> Floats:
        """Subtract from each vector the mean of its language and scale the result to length 1.

        Args:
            embeddings: Vectors of the model that the means were taken from, shape ``(texts, dimensions)``.
            languages: Language of each text.
            role: ``"query"`` or ``"document"``.

        Returns:
            The centred vectors, shape ``(texts, dimensions)``, float32.

        Raises:
            ValueError: If a language has no mean and ``unseen`` is ``"error"``, or shapes disagree.
        """
        if role not in self.means:
            raise ValueError(f"role must be 'query' or 'document', not {role!r}.")
        _check_lengths(role, len(embeddings), len(languages))
        means = self.means[role]
        names, codes = _encode_languages(languages)
        unknown = [name for name in names if name not in means]
        if unknown and self.unseen == "error":
            raise ValueError(
                f"There is no {role} mean for the language {', '.join(unknown)}, only for {', '.join(means)}. Fit the "
                f"means on texts in that language too, or choose unseen='keep' or unseen='global'."
            )
        average = np.mean(list(means.values()), axis=0, dtype=np.float64)
        other = average if self.unseen == "global" else np.zeros_like(average)
        centred = embeddings - np.stack([means.get(name, other) for name in names])[codes].astype(np.float32)
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        unit: Floats = (centred / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
        return unit

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the means to the folder ``language_centering`` inside ``folder``, the model's own as a rule."""
        target = Path(folder) / FOLDER
        target.mkdir(parents=True, exist_ok=True)
        languages = {role: list(vectors) for role, vectors in self.means.items()}
        save_file(
            {role: np.stack(list(vectors.values())).astype(np.float32) for role, vectors in self.means.items()},
            target / "means.safetensors",
        )
        config = json.dumps({"languages": languages, "unseen": self.unseen}, indent=2)
        (target / "config.json").write_text(config + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> LanguageCentering:
        """Read what :meth:`save_pretrained` wrote.

        Args:
            folder: The folder given to :meth:`save_pretrained`.

        Raises:
            FileNotFoundError: If the folder holds no means.
        """
        source = Path(folder) / FOLDER
        if not (source / "config.json").is_file():
            raise FileNotFoundError(f"{folder} holds no language means; LanguageCentering.save_pretrained writes them.")
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
        stacks = load_file(source / "means.safetensors")
        return cls(
            {role: dict(zip(config["languages"][role], stacks[role], strict=True)) for role in ROLES}, config["unseen"]
        )


def _encode_languages(languages: Iterable[str]) -> tuple[list[str], npt.NDArray[np.intp]]:
    """The distinct languages in order of appearance, and the number of each text's language."""
    numbers: dict[str, int] = {}
    codes = [numbers.setdefault(language, len(numbers)) for language in languages]
    return list(numbers), np.asarray(codes, dtype=np.intp)


def _means(embeddings: Floats, languages: Sequence[str]) -> dict[str, Floats]:
    _check_lengths("mean", len(embeddings), len(languages))
    names, codes = _encode_languages(languages)
    return {
        name: embeddings[codes == code].mean(axis=0, dtype=np.float64).astype(np.float32)
        for code, name in enumerate(names)
    }


def _check_lengths(what: str, texts: int, languages: int) -> None:
    if texts != languages:
        raise ValueError(f"{what}: {texts} texts but {languages} languages; give one language for each text.")
    if not texts:
        raise ValueError(f"{what}: no texts given.")
