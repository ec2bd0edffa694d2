"""XQuAD-R and MLQA-R as tasks of mteb: monolingual, cross-lingual and multilingual retrieval in one encoding pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from datasets import Dataset
from mteb import CrossEncoderProtocol, EncoderProtocol, SearchProtocol
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.models.search_wrappers import SearchEncoderWrapper

from st_hybrid.evaluation import PUBLISHED_COUNTS, RetrievalCollection, SettingScores, load_lareqa, score_embeddings
from st_hybrid.evaluation.lareqa import COMMITS
from st_hybrid.evaluation.results import MULTI
from st_hybrid.evaluation.scoring import Floats, score_search
from st_hybrid.search.encoding import encode_distinct
from st_hybrid.search.nearest import SIMILARITIES, top_rows
from st_hybrid.tasks.means import LAREQA_MEASURES, Group, RunningMeans, setting_of
from st_hybrid.tasks.metadata import SCRIPTS, CountedTaskMetadata
from st_hybrid.tasks.mteb_encoder import encode_texts, is_plain_encoder, similarity_of

if TYPE_CHECKING:
    from mteb.types import EncodeKwargs

SPLIT = "test"

_PREDICTIONS = 1000  # passages per query in mteb's file of predictions


@dataclass(frozen=True)
class _Pass:
    """The embeddings of one model and the scores of all subsets."""

    model: EncoderProtocol
    encode_kwargs: dict[str, Any]
    queries: Floats
    passages: Floats
    scores: dict[str, SettingScores]


class LareqaTask(AbsTaskRetrieval):
    """Retrieval of the sentence that answers a question, over every pair of languages and over all together.

    The subset ``en-de`` has English queries and German passages, ``en-multi`` passages of all languages. Scores are
    means over the queries with an answer in the pool: ``map`` over the full ranking (the main score), ``recall_at_1``,
    ``recall_at_10``, ``ndcg_at_10``, ``mrr_at_10``, and in the multi subsets ``rank_distance``. Ties count against the
    model. Once all requested subsets of a kind are done, each of them also has their means, ``macro_map`` and so on.

    A dense encoder encodes each distinct text once, however many subsets run. Sparse encoders and models with their own
    search run subset by subset, as in mteb's tasks, and get the same measures.

    Attributes:
        data_dir: Folder that holds ``xquad-r/<lang>.json`` and ``mlqa-r/<lang>.json``; by default the variable
            ``ST_HYBRID_DATA``; without it the published files are downloaded.
        verify: Refuse files that are not the published ones. Turn it off for other data in the same format.
        collection: The queries and passages, once they are loaded.

    References:
        LAReQA, Roy et al. 2020, https://arxiv.org/abs/2004.05484
    """

    abstask_prompt = "Retrieve the sentence that answers the question."
    _support_cross_encoder = False

    data_dir: str | Path | None = None
    verify: bool = True
    collection: RetrievalCollection | None = None
    _pass: _Pass | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._means = RunningMeans()

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """Load the languages that the chosen subsets need."""
        if self.data_loaded:
            return
        name = self.metadata.name
        asked, pools = (list(part) for part in zip(*(subset.split("-") for subset in self.hf_subsets), strict=True))
        if MULTI in pools:
            pools = list(PUBLISHED_COUNTS[name])
        languages = [language for language in PUBLISHED_COUNTS[name] if language in (*asked, *pools)]
        collection = load_lareqa(name, self.data_dir, languages, verify=self.verify)
        self.collection = collection.in_languages(asked, pools)
        self.dataset = {subset: {SPLIT: data} for subset, data in _split_data(self.collection, self.hf_subsets).items()}
        self._pass, self._means = None, RunningMeans()
        self.data_loaded = True

    def unload_data(self) -> None:
        """Drop the texts, and the embeddings of the last model."""
        super().unload_data()
        self.collection, self._pass, self._means = None, None, RunningMeans()

    def evaluate(
        self,
        model: Any,
        split: str = SPLIT,
        subsets_to_run: Sequence[str] | None = None,
        *,
        encode_kwargs: EncodeKwargs,
        prediction_folder: Path | None = None,
        **kwargs: Any,
    ) -> Mapping[str, dict[str, float]]:
        """Measure a model; see :meth:`mteb.AbsTask.evaluate` for the arguments.

        Raises:
            TypeError: The model is a cross-encoder, which cannot rank 13,000 passages for each of 13,000 queries.
        """
        if isinstance(model, CrossEncoderProtocol):
            raise TypeError(
                f"{self.metadata.name} ranks whole pools, which a cross-encoder cannot do in reasonable time. Pass an "
                f"encoder, or a model with a search of its own."
            )
        if not self.data_loaded:
            self.load_data()
        subsets = [subset for subset in self.hf_subsets if subsets_to_run is None or subset in subsets_to_run]
        options: dict[str, Any] = {"encode_kwargs": encode_kwargs, "prediction_folder": prediction_folder}
        if is_plain_encoder(model):
            scores: Mapping[str, Mapping[str, Any]] = self._one_pass(model, subsets, **options)
        else:
            scores = super().evaluate(model, split, subsets, **options, **kwargs)
        asked: dict[str, list[str]] = {}
        for subset in self.hf_subsets:
            asked.setdefault(setting_of(subset), []).append(subset)
        return self._means.add(model, scores, [Group("macro", part, LAREQA_MEASURES) for part in asked.values()])

    def _one_pass(
        self, model: EncoderProtocol, subsets: list[str], encode_kwargs: EncodeKwargs, prediction_folder: Path | None
    ) -> dict[str, dict[str, float]]:
        if self._pass is None or self._pass.model is not model or self._pass.encode_kwargs != encode_kwargs:
            self._pass = self._encode(model, dict(encode_kwargs))
        if prediction_folder is not None:
            for subset in subsets:
                self._save_task_predictions(
                    self._predict(subset), model, prediction_folder, hf_split=SPLIT, hf_subset=subset
                )
        scores = {subset: _measures(self._pass.scores[subset]) for subset in subsets}
        for of_subset in scores.values():
            self._add_main_score(of_subset)
        return scores

    def _encode(self, model: EncoderProtocol, encode_kwargs: dict[str, Any]) -> _Pass:
        assert self.collection is not None
        about: dict[str, Any] = {"task_metadata": self.metadata, "hf_split": SPLIT, "hf_subset": self.hf_subsets[0]}
        about["encode_kwargs"] = encode_kwargs
        queries = encode_distinct(lambda texts: encode_texts(model, texts, "query", **about), self.collection.queries)
        passages = encode_distinct(
            lambda texts: encode_texts(model, texts, "document", **about), self.collection.passages
        )
        scores = score_embeddings(queries, passages, self.collection, similarity=similarity_of(model))
        return _Pass(model, encode_kwargs, queries, passages, scores.per_pair)

    def _predict(self, subset: str) -> dict[str, dict[str, float]]:
        """The best passages of each query, for mteb's file of predictions."""
        assert self.collection is not None
        assert self._pass is not None
        similarity = similarity_of(self._pass.model)
        if similarity not in SIMILARITIES:
            raise ValueError(f"Predictions are written for the similarities {', '.join(SIMILARITIES)} only.")
        asked, pool = _members(self.collection, subset)
        best = top_rows(
            self._pass.queries[asked], self._pass.passages[pool], min(_PREDICTIONS, len(pool)), str(similarity)
        )
        names = np.asarray(self.collection.passage_ids, dtype=object)[pool[best.rows]]
        return {
            self.collection.query_ids[query]: dict(zip(of_query, scores, strict=True))
            for query, of_query, scores in zip(asked, names.tolist(), best.scores.tolist(), strict=True)
        }

    def _evaluate_subset(
        self,
        model: Any,
        data_split: RetrievalSplitData,
        *,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: EncodeKwargs,
        prediction_folder: Path | None = None,
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> dict[str, float]:
        """Measure a model that is not a dense encoder on one subset, by its own search or by mteb's."""
        search = model if isinstance(model, SearchProtocol) else SearchEncoderWrapper(model)
        about: dict[str, Any] = {
            "task_metadata": self.metadata,
            "hf_split": hf_split,
            "hf_subset": hf_subset,
            "encode_kwargs": encode_kwargs,
            "num_proc": num_proc,
        }
        corpus, relevant = data_split["corpus"], data_split["relevant_docs"]
        search.index(corpus, **about)
        found = search.search(data_split["queries"], top_k=len(corpus), **about)
        if prediction_folder is not None:
            self._save_task_predictions(found, model, prediction_folder, hf_split=hf_split, hf_subset=hf_subset)
        scores = score_search(found, relevant, len(corpus))
        return _measures(scores if hf_subset.endswith(MULTI) else replace(scores, rank_distance=None))


def _measures(scores: SettingScores) -> dict[str, float]:
    """The measures that are reported to mteb."""
    return {name: value for name, value in scores.to_dict().items() if name in LAREQA_MEASURES}


def _members(collection: RetrievalCollection, subset: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the queries and of the passages of a subset; a query without an answer in the pool is left out."""
    query, pool = subset.split("-")
    codes = {language: code for code, language in enumerate(collection.languages)}
    inside = np.ones(len(collection.passages), dtype=bool)
    if pool != MULTI:
        inside = collection.passage_languages == codes[pool]
    answered = np.zeros(len(collection.queries), dtype=bool)
    answered[collection.relevant_queries[inside[collection.relevant_passages]]] = True
    return np.flatnonzero(answered & (collection.query_languages == codes[query])), np.flatnonzero(inside)


def _split_data(collection: RetrievalCollection, subsets: Sequence[str]) -> dict[str, RetrievalSplitData]:
    """The subsets in mteb's format; subsets share their queries and pools."""

    @cache
    def rows(role: Literal["query", "passage"], numbers: bytes) -> Dataset:
        ids, texts = (
            (collection.query_ids, collection.queries)
            if role == "query"
            else (collection.passage_ids, collection.passages)
        )
        chosen = np.frombuffer(numbers, dtype=np.int64)
        return Dataset.from_dict({"id": [ids[i] for i in chosen], "text": [texts[i] for i in chosen]})

    data: dict[str, RetrievalSplitData] = {}
    for subset in subsets:
        asked, pool = _members(collection, subset)
        if not len(asked):
            raise ValueError(f"{collection.name}: no query of the subset {subset} has an answer in its pool.")
        relevant: dict[str, dict[str, int]] = {collection.query_ids[query]: {} for query in asked}
        kept = np.isin(collection.relevant_queries, asked) & np.isin(collection.relevant_passages, pool)
        for query, passage in zip(collection.relevant_queries[kept], collection.relevant_passages[kept], strict=True):
            relevant[collection.query_ids[query]][collection.passage_ids[passage]] = 1
        data[subset] = RetrievalSplitData(
            corpus=rows("passage", pool.tobytes()),
            queries=rows("query", asked.tobytes()),
            relevant_docs=relevant,
            top_ranked=None,
        )
    return data


def _metadata(name: str, **fields: Any) -> CountedTaskMetadata:
    published = PUBLISHED_COUNTS[name]
    subsets = [(query, pool) for query in published for pool in (*published, MULTI)]
    sizes = {language: passages for language, (_, passages) in published.items()}
    sizes[MULTI] = sum(sizes.values())
    return CountedTaskMetadata(
        name=name,
        dataset={"path": "google-research-datasets/lareqa", "revision": COMMITS[name]},
        reference="https://github.com/google-research-datasets/lareqa",
        type="Retrieval",
        category="t2t",
        modalities=["text"],
        eval_splits=[SPLIT],
        eval_langs={
            f"{query}-{pool}": [
                SCRIPTS[language] for language in dict.fromkeys([query, *(published if pool == MULTI else [pool])])
            ]
            for query, pool in subsets
        },
        main_score="map",
        domains=["Encyclopaedic", "Written"],
        task_subtypes=["Question answering"],
        annotations_creators="human-annotated",
        dialect=[],
        prompt={"query": "Given a question, retrieve the sentence that answers it, in any language"},  # type: ignore[arg-type]
        counts={SPLIT: {f"{query}-{pool}": (published[query][0], sizes[pool]) for query, pool in subsets}},
        **fields,
    )


_LAREQA = r"""
@inproceedings{roy-etal-2020-lareqa,
  author = {Roy, Uma and Constant, Noah and Al-Rfou, Rami and Barua, Aditya and Phillips, Aaron and Yang, Yinfei},
  title = {{LAR}e{QA}: Language-Agnostic Answer Retrieval from a Multilingual Pool},
  booktitle = {Proceedings of the 2020 Conference on Empirical Methods in Natural Language Processing (EMNLP)},
  year = {2020},
  eprint = {2004.05484},
  archiveprefix = {arXiv},
}
"""


class XQuADR(LareqaTask):
    """XQuAD-R: 1,190 questions in each of 11 languages, each answered by a sentence of every language."""

    metadata = _metadata(
        "XQuAD-R",
        adapted_from=["XQuADRetrieval"],
        description="Retrieval of the sentence that answers a question, from one language or from all 11 together: "
        "XQuAD with sentence boundaries. It measures whether a model prefers the language of the question to the "
        "right answer.",
        date=("2019-05-21", "2020-04-10"),
        license="cc-by-sa-4.0",
        sample_creation="human-translated",
        bibtex_citation=_LAREQA
        + r"""
@inproceedings{artetxe-etal-2020-cross,
  author = {Artetxe, Mikel and Ruder, Sebastian and Yogatama, Dani},
  title = {On the Cross-lingual Transferability of Monolingual Representations},
  booktitle = {Proceedings of the 58th Annual Meeting of the Association for Computational Linguistics},
  year = {2020},
  eprint = {1910.11856},
  archiveprefix = {arXiv},
}
""",
    )


class MLQAR(LareqaTask):
    """MLQA-R: questions in 7 languages, each answered in 2 to 4 of them, over the sentences of MLQA's paragraphs."""

    metadata = _metadata(
        "MLQA-R",
        adapted_from=["MLQARetrieval"],
        description="Retrieval of the sentence that answers a question, from one language or from all 7 together: "
        "MLQA with sentence boundaries. A question has its answer in 2 to 4 languages; a subset counts the questions "
        "that have one in its pool.",
        date=("2019-10-16", "2020-04-10"),
        license="cc-by-nc-4.0",
        sample_creation="found",
        bibtex_citation=_LAREQA
        + r"""
@inproceedings{lewis-etal-2020-mlqa,
  author = {Lewis, Patrick and Oguz, Barlas and Rinott, Ruty and Riedel, Sebastian and Schwenk, Holger},
  title = {{MLQA}: Evaluating Cross-lingual Extractive Question Answering},
  booktitle = {Proceedings of the 58th Annual Meeting of the Association for Computational Linguistics},
  year = {2020},
  eprint = {1910.07475},
  archiveprefix = {arXiv},
}
""",
    )
