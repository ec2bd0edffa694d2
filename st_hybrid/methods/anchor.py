"""Distillation to an anchor language: every text towards the start's vector of its translation in that language."""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn.functional import cosine_similarity

from st_hybrid.dtypes import Dtype
from st_hybrid.encoders import encode, require_finite
from st_hybrid.files import replacing
from st_hybrid.methods.added_term import AddedTermLoss
from st_hybrid.pairs import Side, pair_text
from st_hybrid.search.encoding import encode_distinct
from st_hybrid.search.fingerprint import model_fingerprint, texts_fingerprint

__all__ = ["AnchorDistillationLoss", "AnchorVectors"]

ANCHOR_WEIGHT = 5.0
"""Factor of the distillation where none is given."""

_ROLES: dict[Side, Literal["query", "document"]] = {"query": "query", "positive": "document"}
_TEXTS = pa.schema({name: pa.large_string() for name in _ROLES})
_CITATION = """
@misc{jang2026mimo,
    title={MIMO: Multilingual Information Retrieval via Monolingual Objectives},
    author={Youngjoon Jang and Seongtae Hong and Heuiseok Lim},
    year={2026}, eprint={2605.31171}, archivePrefix={arXiv}, primaryClass={cs.IR},
}
@inproceedings{reimers2020making,
    title={Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation},
    author={Nils Reimers and Iryna Gurevych},
    booktitle={Proceedings of EMNLP}, year={2020}, eprint={2004.09813}, archivePrefix={arXiv},
}
"""


class AnchorVectors:
    """A frozen model's vectors of the queries and positives in the anchor language, the teacher of a training.

    Args:
        rows: Numbers of the parallel rows in the anchor language, ascending, shape ``(anchors,)``, int64.
        query: Unit vectors of their queries, shape ``(anchors, dimensions)``, float16.
        positive: Unit vectors of their positives, of the same shape and type.

    Example:
        ::

            from datasets import Dataset
            from sentence_transformers import SentenceTransformer
            from st_hybrid import parallel_pairs
            from st_hybrid.methods.anchor import AnchorVectors

            pairs = parallel_pairs(Dataset.from_json("rows.jsonl"), anchor="en")
            teacher = AnchorVectors.encode(SentenceTransformer("intfloat/multilingual-e5-small"), pairs)
            print(teacher.query.shape)
    """

    def __init__(self, rows: Tensor, query: Tensor, positive: Tensor) -> None:
        self.rows, self.query, self.positive = rows, query, positive

    @classmethod
    def encode(
        cls,
        model: SentenceTransformer,
        pairs: Dataset,
        *,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        file: str | Path | None = None,
        dtype: Dtype = "float32",
        batch_size: int = 32,
        show_progress_bar: bool = False,
    ) -> "AnchorVectors":
        """Encode the anchor rows of pairs, each distinct text once, or read what an earlier run encoded.

        Args:
            model: The start, before it is trained.
            pairs: Pairs of ``parallel_pairs(rows, anchor=...)``.
            query_prompt: Prefix of queries (the model's own by default).
            document_prompt: Prefix of positives (the model's own by default).
            file: Where to keep the vectors. They are read again for the same model, texts, prompts and arithmetic.
            dtype: Type to compute in, under autocast.
            batch_size: Texts per encoding batch.
            show_progress_bar: Show the progress over texts.

        Raises:
            ValueError: The pairs were made without ``anchor``.
        """
        text = pair_text(pairs)
        if "anchor" not in text.keys.column_names:
            raise ValueError("These pairs have no anchor language: make them with parallel_pairs(rows, anchor='en').")
        rows = np.unique(text.keys.with_format("arrow")["anchor"][:]).astype(np.int64)
        rows = rows[rows >= 0]
        if not len(rows):  # one of several data sets, without the language
            return cls(torch.from_numpy(rows), *torch.empty(2, 0, 0))
        table = text.texts.select_columns([*_ROLES]).select(rows).with_format("arrow")[:].cast(_TEXTS).combine_chunks()
        prompts = {"query": query_prompt, "document": document_prompt}
        prompts = {role: model.prompts.get(role) if given is None else given for role, given in prompts.items()}
        settings = [f"prompts {prompts}", f"dtype {dtype}"]
        made_by: dict[str, str] = {name: texts_fingerprint(table[name].chunk(0)) for name in _ROLES}
        made_by["model"] = model_fingerprint(model, settings)
        vectors = None if file is None else _read(Path(file), made_by)
        if vectors is None:
            vectors = {}
            for name, role in _ROLES.items():
                options: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
                options |= {"prompt": prompts[role], "normalize_embeddings": True}
                with torch.autocast(model.device.type, getattr(torch, dtype), enabled=dtype != "float32"):
                    encoded = encode_distinct(partial(encode, model, role=role, **options), table[name].to_pylist())
                require_finite(np.asarray(encoded), table[name].to_pylist())
                vectors[name] = torch.from_numpy(np.asarray(encoded, dtype=np.float16))
            if file is not None:
                with replacing(file) as temporary:
                    save_file(vectors, temporary, metadata=made_by)
        return cls(torch.from_numpy(rows), **vectors)

    def __len__(self) -> int:
        return len(self.rows)

    def of_rows(self, rows: Tensor, side: Side) -> Tensor:
        """The vectors of parallel rows in the anchor language, shape ``(len(rows), dimensions)``.

        Args:
            rows: Numbers of rows, as the labels of pairs name them, without -1.
            side: ``"query"`` or ``"positive"``.

        Raises:
            ValueError: A row is not one of the anchor's.
        """
        wanted = rows.cpu().contiguous()
        places = torch.searchsorted(self.rows, wanted)
        if (places == len(self)).any() or not torch.equal(self.rows[places], wanted):
            raise ValueError("The labels name anchor rows without a vector. Encode the vectors of these same pairs.")
        return (self.query if side == "query" else self.positive)[places].to(rows.device)


class AnchorDistillationLoss(AddedTermLoss):
    """In-batch negatives, and distillation of every text to the start's vector of its translation in one language.

    The distance of each query from the query of its group in the anchor language, and of each positive from the
    positive there, is 1 - cosine. Both sides' means over the batch, times ``weight``, are added to the loss. A text
    whose group has no row in the anchor language adds 0. So the languages meet where the start has its best one, which
    aligns them more than contrast alone; much weight costs quality within languages.

    It is a light form of MIMO, whose teacher is another, larger model: here the teacher is the model before training.

    Args:
        model: The ``SentenceTransformer`` to train.
        teacher: The start's vectors, from :meth:`AnchorVectors.encode`.
        weight: Factor of each side's mean distance. With temperature 0.01 (``scale=100``) 5 is a good one.
        **options: Those of :class:`~st_hybrid.MultilingualMultipleNegativesRankingLoss`.

    Inputs:
        The columns of ``parallel_pairs(rows, anchor=...)``: the last two labels are rows of the teacher.

    Example:
        ::

            from datasets import Dataset
            from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
            from st_hybrid import HybridTrainer, parallel_pairs
            from st_hybrid.methods.anchor import AnchorDistillationLoss, AnchorVectors

            model = SentenceTransformer("intfloat/multilingual-e5-small")
            pairs = parallel_pairs(Dataset.from_json("rows.jsonl"), anchor="en")
            teacher = AnchorVectors.encode(model, pairs, query_prompt="query: ", document_prompt="passage: ")
            args = SentenceTransformerTrainingArguments(
                "out", max_steps=5, prompts={"query": "query: ", "positive": "passage: "}
            )
            HybridTrainer(model, args, pairs, loss=AnchorDistillationLoss(model, teacher, weight=5, scale=100)).train()

    References:
        MIMO, Jang, Hong and Lim 2026, https://arxiv.org/abs/2605.31171; distillation over translations, Reimers and
        Gurevych 2020, https://arxiv.org/abs/2004.09813
    """

    name = "distillation"
    own_labels = 2
    labels_from = "st_hybrid.parallel_pairs(rows, anchor=...)"

    def __init__(self, model: Any, teacher: AnchorVectors, weight: float = ANCHOR_WEIGHT, **options: Any) -> None:
        super().__init__(model, weight, **options)
        self.teacher = teacher

    def term(self, queries: Tensor, positives: Tensor, labels: Tensor) -> Tensor:
        """The sum of both sides' mean distances."""
        total = queries.new_zeros((), dtype=torch.float32)
        for side, student, rows in zip(_ROLES, (queries, positives), labels[:, -2:].unbind(1), strict=True):
            known = rows >= 0
            if known.any():
                target = self.teacher.of_rows(rows[known], side)
                exact = torch.promote_types(student.dtype, torch.float32)
                cosine = cosine_similarity(student[known].to(exact), target.to(exact))
                total = total + (1 - cosine).sum() / len(rows)
        return total

    def get_config_dict(self) -> dict[str, Any]:
        """The arguments, for the model card."""
        return {**super().get_config_dict(), "weight": self.weight, "anchor_rows": len(self.teacher)}

    @property
    def citation(self) -> str:
        """BibTeX of distillation over translations and of the losses that this one extends."""
        return super().citation + _CITATION


def _read(file: Path, made_by: dict[str, str]) -> dict[str, Tensor] | None:
    """The vectors in a file if it is whole and they were made by this model of these texts."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as kept:
            return {name: kept.get_tensor(name) for name in _ROLES} if kept.metadata() == made_by else None
    except (SafetensorError, OSError):
        return None
