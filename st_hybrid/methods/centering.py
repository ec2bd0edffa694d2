"""Subtract each language's mean vector, so that a vector says less about the language of its text."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from datasets import Dataset
from safetensors.numpy import load_file, save_file

from st_hybrid.encoders import require_dense
from st_hybrid.files import replacing, write_json
from st_hybrid.grouping import place_in_group
from st_hybrid.languages import supported_code
from st_hybrid.rows import ParallelRows

if TYPE_CHECKING:
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
    without training, also on top of hybrid training. It requires the language of every passage and of every query.

    Args:
        means: For each role (``"query"``, ``"document"``), the mean vector of each language, shape ``(dimensions,)``.
        unseen: Without a mean raise an ``"error"``, ``"keep"`` the vector, or subtract the ``"global"`` mean.

    Raises:
        ValueError: A role is missing, or the vectors differ in length.

    Example:
        ::

            from sentence_transformers import SentenceTransformer
            from st_hybrid import LanguageCentering

            model = SentenceTransformer("intfloat/multilingual-e5-small")
            queries, documents = ["Where is it?", "Wo steht er?"], ["On the cliff.", "Auf der Klippe."]
            centering = LanguageCentering.fit(model, queries, ["en", "de"], documents, ["en", "de"])  # take hundreds
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
    ) -> "LanguageCentering":
        """Take the means of given embeddings, shapes ``(texts, dimensions)``, of texts in known languages."""
        means = _means(queries, query_languages), _means(documents, document_languages)
        return cls(dict(zip(ROLES, means, strict=True)), unseen)

    @classmethod
    def fit(
        cls,
        model: "SentenceTransformer",
        queries: Sequence[str],
        query_languages: Sequence[str],
        documents: Sequence[str],
        document_languages: Sequence[str],
        *,
        unseen: Unseen = "error",
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        **options: Any,
    ) -> "LanguageCentering":
        """Encode texts in known languages, a language per text, and take their means.

        Take texts that are not evaluated, in every language that will be searched. The more alike the languages'
        contents are (translations at best), the less meaning the means remove. The model's own prompts apply unless
        others are given. ``options`` are those of ``model.encode``, such as ``batch_size``.
        """
        require_dense(model, "Centering")
        _check_lengths(queries, query_languages)  # before the encoding
        _check_lengths(documents, document_languages)
        of_queries = model.encode_query(list(queries), prompt=query_prompt, **options)
        of_documents = model.encode_document(list(documents), prompt=document_prompt, **options)
        return cls.from_embeddings(of_queries, query_languages, of_documents, document_languages, unseen=unseen)

    @classmethod
    def fit_rows(
        cls,
        model: "SentenceTransformer",
        rows: Dataset,
        *,
        columns: Mapping[str, str] = MappingProxyType({}),
        per_language: int = 1000,
        seed: int = 0,
        **options: Any,
    ) -> "LanguageCentering":
        """Take the means of the queries and of the positives of parallel rows.

        ``per_language`` rows are drawn per language, at random with ``seed``; some hundreds are enough. ``columns`` is
        that of :class:`~st_hybrid.rows.ParallelRows`; the ``options`` are the keyword arguments of :meth:`fit`.
        """
        if per_language < 1:
            raise ValueError(f"per_language must be at least 1, got {per_language}.")
        parallel = ParallelRows(rows, columns=columns, negative_columns=[])
        order = np.random.default_rng(seed).permutation(len(parallel))
        drawn = np.sort(order[place_in_group(parallel.language[order]) < per_language])
        texts, languages = (
            parallel.dataset.select(drawn),
            np.array(parallel.languages)[parallel.language[drawn]].tolist(),
        )
        return cls.fit(model, texts["query"][:], languages, texts["positive"][:], languages, **options)

    def known_as(self, languages: Iterable[str], role: Role) -> dict[str, str | None]:
        """What the means call each language; None if it has no mean, which ``unseen="error"`` refuses (ValueError)."""
        if role not in self.means:
            raise ValueError(f"role must be 'query' or 'document', got {role!r}.")
        means = self.means[role]
        known_as = {code: supported_code(code, means.keys()) for code in languages}
        if self.unseen == "error" and (unknown := [code for code, known in known_as.items() if known is None]):
            raise ValueError(
                f"There is no {role} mean for the language {', '.join(unknown)}, only for {', '.join(means)}. Fit the "
                f"means on texts in that language too, or choose unseen='keep' or unseen='global' (--unseen)."
            )
        return known_as

    def __call__(self, embeddings: Floats, languages: Sequence[str], role: Role) -> Floats:
        """Subtract from each vector, shape ``(texts, dimensions)``, its language's mean and scale it to length 1.

        Raises:
            ValueError: A language has no mean and ``unseen`` is ``"error"``, or shapes disagree.
        """
        _check_lengths(embeddings, languages)
        codes, numbers = np.unique(np.asarray(languages), return_inverse=True)
        known_as, means = self.known_as(codes.tolist(), role), self.means[role]
        other = np.mean(list(means.values()), axis=0, dtype=np.float64) * (self.unseen == "global")
        centered = embeddings - np.stack([means.get(known or "", other) for known in known_as.values()])[
            numbers
        ].astype(np.float32)
        lengths = np.linalg.norm(centered, axis=1, keepdims=True)
        return np.asarray(centered / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the means to the folder ``language_centering`` inside ``folder``, usually the model's own."""
        target = Path(folder) / FOLDER
        stacks: dict[str, Floats] = {role: np.stack([*self.means[role].values()]).astype(np.float32) for role in ROLES}
        with replacing(target / "means.safetensors") as temporary:
            save_file(stacks, temporary)
        languages = {role: list(self.means[role]) for role in ROLES}
        write_json(target / "config.json", {"languages": languages, "unseen": self.unseen})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "LanguageCentering":
        """Read what :meth:`save_pretrained` wrote; FileNotFoundError if the folder holds no means."""
        source = Path(folder) / FOLDER
        if not (source / "config.json").is_file():
            raise FileNotFoundError(f"{folder} holds no language means. Write them with st-hybrid center.")
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
        stacks, languages = load_file(source / "means.safetensors"), config["languages"]
        return cls({role: dict(zip(languages[role], stacks[role], strict=True)) for role in ROLES}, config["unseen"])


def _means(embeddings: Floats, languages: Sequence[str]) -> dict[str, Floats]:
    _check_lengths(embeddings, languages)
    codes = np.asarray(languages)
    return {one: embeddings[codes == one].mean(0, np.float64).astype(np.float32) for one in dict.fromkeys(languages)}


def _check_lengths(texts: Sequence[str] | Floats, languages: Sequence[str]) -> None:
    if len(texts) != len(languages) or not len(texts):
        raise ValueError(f"There are {len(texts)} texts but {len(languages)} languages. Give a language for each text.")
