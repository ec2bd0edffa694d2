"""Take from vectors what they say about the language of their text, without training."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from sentence_transformers.base.modules import Module
from torch import Tensor
from torch.nn.functional import normalize

from st_hybrid.encoders import require_dense, require_finite
from st_hybrid.files import replacing
from st_hybrid.grouping import place_in_group
from st_hybrid.languages import supported_code
from st_hybrid.rows import ParallelRows

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from typing_extensions import Self

Floats = npt.NDArray[np.float32]
Role = Literal["query", "document"]
Method = Literal["center", "shift", "lir"]
Unseen = Literal["error", "keep", "global"]

ROLES: tuple[Role, ...] = get_args(Role)
FOLDER = "language_centering"


class LanguageCentering(Module):
    """Take from embeddings what they say about the language of their text, by language means or directions.

    An encoder that was not trained for mixed-language pools puts the texts of a language close together, so a query
    finds the passages of its own language first. Each method removes much of this without training, also on top of
    hybrid training. It takes from a vector of language l, before it is scaled to length 1 again:

    - ``"center"``: the mean vector of l. Queries and documents.
    - ``"shift"``: the mean vector of l less that of a source language. Documents only, so only an index changes.
    - ``"lir"`` (language information removal): the projection on the first directions of l, which are the right
      singular vectors of its embeddings, not centred. Queries and documents.

    Queries and documents have means and directions of their own. With the languages of the texts, use
    :meth:`transform`. Without them, a vector is in the language of the nearest mean. So the object is also a module of
    sentence-transformers: appended to a model, it is saved and loaded with it, and ``encode_query`` and
    ``encode_document`` apply it. Texts encoded without a task count as documents.

    Args:
        means: For each role (``"query"``, ``"document"``), the mean vector of each language, shape ``(dimensions,)``.
        directions: For each role, the directions of each language, orthonormal, shape ``(components, dimensions)``. For
            ``"lir"`` only.
        method: What to take from a vector.
        strength: The share of it, from 0, which leaves the vectors, to 1. Less than 1 leaves texts in the language of
            the query an advantage over their translations.
        source: The language that documents are shifted to, by default ``"en"``. For ``"shift"`` only.
        unseen: For texts said to be in a language without a mean, raise an ``"error"``, ``"keep"`` the vector, or take
            the average over all languages (``"global"``; not for ``"lir"``).

    Raises:
        ValueError: A role is missing, vectors differ in length, or an argument has no effect.

    Example:
        ::

            from sentence_transformers import SentenceTransformer
            from st_hybrid import LanguageCentering

            model = SentenceTransformer("intfloat/multilingual-e5-small")
            queries, documents = ["Where is it?", "Wo steht er?"], ["On the cliff.", "Auf der Klippe."]
            centering = LanguageCentering.fit(model, queries, ["en", "de"], documents, ["en", "de"])  # take hundreds
            vectors = centering.transform(model.encode_query(["Wo ist der Hafen?"]), ["de"], "query")

            model.append(centering)  # from here on the nearest mean names the language
            model.save_pretrained("my-model")
            model = SentenceTransformer("my-model", trust_remote_code=True)  # asked for modules of other packages

    References:
        - shift: equation 1 of Jang et al. 2026, https://arxiv.org/abs/2606.18801. The vector of a language is there a
          mean over translation pairs, which is this difference of means if both languages have the same groups.
        - lir: section 2 of Yang et al. 2021, https://arxiv.org/abs/2109.04727
    """

    forward_kwargs: set[str] = {"task"}  # noqa: RUF012 (declared so by the base class)
    config_keys: list[str] = ["languages", "method", "strength", "source", "unseen"]  # noqa: RUF012

    def __init__(
        self,
        means: Mapping[Role, Mapping[str, Floats]],
        directions: Mapping[Role, Mapping[str, Floats]] | None = None,
        *,
        method: Method = "center",
        strength: float = 1.0,
        source: str | None = None,
        unseen: Unseen = "error",
    ) -> None:
        super().__init__()
        if set(means) != set(ROLES):
            raise ValueError(f"Give means for the roles {', '.join(ROLES)}, not for {sorted(means)}.")
        lengths = {vector.shape for of_role in means.values() for vector in of_role.values()}
        if len(lengths) != 1 or len(next(iter(lengths))) != 1:
            raise ValueError(f"The mean vectors must be of one length; their shapes are {sorted(lengths)}.")
        if (directions is None) == (method == "lir"):
            raise ValueError(f"Give directions for the method 'lir' and for no other; the method is {method!r}.")
        self.source = _checked_source(means["document"], method=method, strength=strength, source=source, unseen=unseen)
        self.languages = {role: list(means[role]) for role in ROLES}
        self.method, self.strength, self.unseen = method, strength, unseen
        for role in ROLES:
            self.register_buffer(f"{role}_means", _stacked(means[role]))
            self.register_buffer(f"{role}_directions", None if directions is None else _stacked(directions[role]))

    @classmethod
    def from_embeddings(
        cls,
        queries: Floats,
        query_languages: Sequence[str],
        documents: Floats,
        document_languages: Sequence[str],
        *,
        components: int | None = None,
        **settings: Any,
    ) -> "LanguageCentering":
        """Take the means and directions of given embeddings, shapes ``(texts, dimensions)``, in known languages.

        ``components`` is the number of directions of ``"lir"``, 1 by default. The other ``settings`` are those of the
        class, such as ``method``.
        """
        _checked_source(document_languages, components=components, **settings)
        given = (queries, query_languages), (documents, document_languages)
        by_role = {role: _by_language(*texts) for role, texts in zip(ROLES, given, strict=True)}
        directions = None
        if settings.get("method") == "lir":
            directions = {
                role: {code: _directions(vectors, code, components or 1) for code, vectors in parts.items()}
                for role, parts in by_role.items()
            }
        means = {
            role: {code: vectors.mean(0, np.float64).astype(np.float32) for code, vectors in parts.items()}
            for role, parts in by_role.items()
        }
        return cls(means, directions, **settings)

    @classmethod
    def fit(
        cls,
        model: "SentenceTransformer",
        queries: Sequence[str],
        query_languages: Sequence[str],
        documents: Sequence[str],
        document_languages: Sequence[str],
        *,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        **settings: Any,
    ) -> "LanguageCentering":
        """Encode texts in known languages, a language per text, and take their means and directions.

        Take texts that are not evaluated, in every language that will be searched. The more alike the languages'
        contents are (translations at best), the less meaning is removed. The model's own prompts apply unless others
        are given. The ``settings`` are those of :meth:`from_embeddings`.
        """
        if any(isinstance(module, LanguageCentering) for module in require_dense(model, "Centering")):
            raise ValueError("The model has language centering already. Fit it on the model that has none.")
        _check_lengths(queries, query_languages)  # before the encoding
        _check_lengths(documents, document_languages)
        _checked_source(document_languages, **settings)
        options: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
        of_queries = model.encode_query(list(queries), prompt=query_prompt, **options)
        of_documents = model.encode_document(list(documents), prompt=document_prompt, **options)
        require_finite(of_queries, queries, "query")
        require_finite(of_documents, documents)
        return cls.from_embeddings(of_queries, query_languages, of_documents, document_languages, **settings)

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
        """Take the means and directions of the queries and of the positives of parallel rows.

        ``per_language`` rows are drawn per language, at random with ``seed``, and of the same groups as far as they go;
        some hundreds are enough. ``columns`` is that of :class:`~st_hybrid.rows.ParallelRows`; the ``options`` are the
        keyword arguments of :meth:`fit`.
        """
        if per_language < 1:
            raise ValueError(f"per_language must be at least 1, got {per_language}.")
        parallel = ParallelRows(rows, columns=columns, negative_columns=[])
        order = np.random.default_rng(seed).permutation(parallel.group.max() + 1)[parallel.group].argsort(kind="stable")
        drawn = np.sort(order[place_in_group(parallel.language[order]) < per_language])
        texts, codes = parallel.dataset.select(drawn), np.array(parallel.languages)
        of_queries, of_passages = (codes[of[drawn]].tolist() for of in (parallel.language, parallel.passage_language))
        return cls.fit(model, texts["query"][:], of_queries, texts["positive"][:], of_passages, **options)

    @property
    def means(self) -> dict[Role, dict[str, Floats]]:
        """The mean vectors, as given."""
        return {role: dict(zip(self.languages[role], self._means(role).cpu().numpy(), strict=True)) for role in ROLES}

    def known_as(self, languages: Iterable[str], role: Role) -> dict[str, str | None]:
        """What the means call each language; None if it has no mean, which ``unseen="error"`` refuses (ValueError)."""
        self._means(role)  # checks the role
        known = self.languages[role]
        known_as = {code: supported_code(code, known) for code in languages}
        if self.unseen == "error" and (unknown := [code for code, found in known_as.items() if found is None]):
            raise ValueError(
                f"There is no {role} mean for the language {', '.join(unknown)}, only for {', '.join(known)}. Fit the "
                f"means on texts in that language too, or choose unseen='keep' or unseen='global' (--unseen)."
            )
        return known_as

    def transform(self, embeddings: Floats, languages: Sequence[str] | None, role: Role) -> Floats:
        """Apply the method to vectors, shape ``(texts, dimensions)``, and scale them to length 1.

        ``languages`` names the language of each vector. With None, each is in the language of the nearest mean.

        Raises:
            ValueError: A language has no mean and ``unseen`` is ``"error"``, or shapes disagree.
        """
        vectors = torch.as_tensor(embeddings, dtype=torch.float32, device=self._means(role).device)
        if languages is None:
            number = self._nearest(vectors, role)
        else:
            _check_lengths(embeddings, languages)
            codes, of_text = np.unique(np.asarray(languages), return_inverse=True)
            place: dict[str | None, int] = {code: number for number, code in enumerate(self.languages[role])}
            numbers = np.array([place.get(code, -1) for code in self.known_as(codes.tolist(), role).values()])
            number = torch.from_numpy(numbers[of_text]).to(vectors.device)
        return self._without_language(vectors, number, role).cpu().numpy()

    def nearest_languages(self, embeddings: Floats, role: Role) -> npt.NDArray[np.str_]:
        """The language of the nearest mean (Euclidean) of each vector, shape ``(texts,)``."""
        vectors = torch.as_tensor(embeddings, dtype=torch.float32, device=self._means(role).device)
        return np.array(self.languages[role])[self._nearest(vectors, role).cpu().numpy()]

    def forward(self, features: dict[str, Any], task: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Apply the method to ``sentence_embedding``; ``task`` is the role, which ``encode_query`` passes."""
        role: Any = task or features.get("task") or "document"
        vectors: Tensor = features["sentence_embedding"]
        with torch.autocast(vectors.device.type, enabled=False):  # half precision confuses means that are close
            found = self._without_language(vectors.float(), self._nearest(vectors.float(), role), role)
        features["sentence_embedding"] = found.to(vectors.dtype)
        return features

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the configuration and the vectors to a folder; sentence-transformers calls this to save a model."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        init_defaults: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> "Self":
        """Read what :meth:`save` wrote; sentence-transformers calls this to load a model."""
        hub: dict[str, Any] = {"token": token, "cache_folder": cache_folder, "revision": revision}
        hub |= {"subfolder": subfolder, "local_files_only": local_files_only}
        config, weights = cls.load_config(model_name_or_path, **hub), cls.load_torch_weights(model_name_or_path, **hub)
        languages = config.pop("languages")
        means, directions = (
            {
                role: dict(zip(languages[role], weights[f"{role}_{part}"].numpy(), strict=True))
                for role in ROLES
                if f"{role}_{part}" in weights
            }
            for part in ("means", "directions")
        )
        return cls(means, directions or None, **config)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write to ``language_centering`` inside ``folder``, usually that of the model, which stays as it is."""
        target = Path(folder) / FOLDER
        with replacing(target) as temporary:
            temporary.mkdir()
            self.save(str(temporary))
            if target.is_dir():
                shutil.rmtree(target)  # only an empty folder can be replaced

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "LanguageCentering":
        """Read what :meth:`save_pretrained` wrote; FileNotFoundError if the folder holds no means."""
        if not (Path(folder) / FOLDER / cls.config_file_name).is_file():
            raise FileNotFoundError(f"{folder} holds no language means. Write them with st-hybrid center.")
        return cls.load(str(folder), subfolder=FOLDER)

    def _means(self, role: Role) -> Tensor:
        if role not in ROLES:
            raise ValueError(f"role must be 'query' or 'document', got {role!r}.")
        means: Tensor = getattr(self, f"{role}_means")
        return means

    def _nearest(self, vectors: Tensor, role: Role) -> Tensor:
        """The number of the nearest mean of each vector."""
        means = self._means(role).float()
        return (vectors @ means.T - means.square().sum(dim=1) / 2).argmax(dim=1)

    def _without_language(self, vectors: Tensor, number: Tensor, role: Role) -> Tensor:
        """The vectors less what the method takes, for the number of each one's language, -1 for an unseen one."""
        means = self._means(role).float()
        if self.method == "lir":
            directions: Tensor = getattr(self, f"{role}_directions").float()
            own = torch.cat([directions, torch.zeros_like(directions[:1])])[number]
            taken = torch.einsum("trd,tr->td", own, torch.einsum("trd,td->tr", own, vectors))
        elif self.method == "shift" and role == "query":
            taken = torch.zeros_like(vectors)
        else:
            if self.source is not None:
                means = means - means[self.languages[role].index(self.source)]
            unseen = means.mean(dim=0, keepdim=True) * (self.unseen == "global")
            taken = torch.cat([means, unseen])[number]
        return normalize(vectors - self.strength * taken, dim=1, eps=torch.finfo(torch.float32).tiny)


def _checked_source(
    document_languages: Iterable[str],
    *,
    method: Method = "center",
    strength: float = 1.0,
    source: str | None = None,
    unseen: Unseen = "error",
    components: int | None = None,
) -> str | None:
    """The source language as the means call it, None if there is none; ValueError for settings that do not fit."""
    for name, choice, allowed in (("method", method, Method), ("unseen", unseen, Unseen)):
        if choice not in get_args(allowed):
            raise ValueError(f"{name} must be {', '.join(map(repr, get_args(allowed)))}; it is {choice!r}.")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be from 0 to 1, got {strength}.")
    given: tuple[tuple[str, object, str], ...] = (("source", source, "shift"), ("components", components, "lir"))
    for name, value, needed in given:
        if value is not None and method != needed:
            raise ValueError(f"{name} has no effect on the method {method!r}. Leave it out, or choose {needed!r}.")
    if components is not None and components < 1:
        raise ValueError(f"components must be at least 1, got {components}.")
    if method == "lir" and unseen == "global":
        raise ValueError("The method 'lir' has no average over languages. Choose unseen='error' or unseen='keep'.")
    if method != "shift":
        return None
    known = list(dict.fromkeys(document_languages))
    found = supported_code(source or "en", known)
    if found is None:
        raise ValueError(
            f"There is no document mean for the source language {source or 'en'}, only for {', '.join(known)}. Name "
            "another source, or fit the means on texts in that language too."
        )
    return found


def _stacked(of_language: Mapping[str, Floats]) -> Tensor:
    return torch.from_numpy(np.stack([*of_language.values()]).astype(np.float32))


def _by_language(embeddings: Floats, languages: Sequence[str]) -> dict[str, Floats]:
    _check_lengths(embeddings, languages)
    codes = np.asarray(languages)
    return {one: embeddings[codes == one] for one in dict.fromkeys(languages)}


def _directions(vectors: Floats, language: str, components: int) -> Floats:
    """The first right singular vectors, shape ``(components, dimensions)``."""
    if components > min(vectors.shape):
        raise ValueError(
            f"{components} components need as many texts and dimensions; there are {len(vectors)} vectors of "
            f"{vectors.shape[1]} in the language {language}. Take more texts, or fewer components."
        )
    return np.asarray(np.linalg.svd(vectors, full_matrices=False)[2][:components], dtype=np.float32)


def _check_lengths(texts: Sequence[str] | Floats, languages: Sequence[str]) -> None:
    if len(texts) != len(languages) or not len(texts):
        raise ValueError(f"There are {len(texts)} texts but {len(languages)} languages. Give a language for each text.")
