"""XQuAD-R and MLQA-R as tasks of mteb: monolingual, cross-lingual and multilingual retrieval in one encoding pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset
from mteb import CrossEncoderProtocol, EncoderProtocol, SearchProtocol
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.models.search_wrappers import SearchEncoderWrapper

from st_hybrid.evaluation import PUBLISHED_COUNTS, RetrievalCollection, check_counts, metrics, read_lareqa
from st_hybrid.evaluation.lareqa_files import COMMITS, lareqa_folder
from st_hybrid.evaluation.scoring import Floats, score_embeddings
from st_hybrid.methods.centering import Role
from st_hybrid.search.nearest import SIMILARITIES, top_rows
from st_hybrid.tasks.means import LAREQA_MEASURES, MULTI, Group, RunningMeans, setting_of
from st_hybrid.tasks.metadata import SCRIPTS, CountedTaskMetadata
from st_hybrid.tasks.mteb_encoder import encode_texts, is_plain_encoder, similarity_of

if TYPE_CHECKING:
    from mteb.types import EncodeKwargs

SPLIT = "test"

_PREDICTIONS = 1000


@dataclass(frozen=True)
class _Pass:
    """What one model made of the texts of the task."""

    model: EncoderProtocol
    encode_kwargs: dict[str, Any]
    queries: Floats
    candidates: Floats
    scores: dict[str, dict[str, float]]


class LareqaTask(AbsTaskRetrieval):
    """Retrieval of the sentence that answers a question, over every pair of languages and over all together.

    The subset ``en-de`` has English questions and German sentences, ``en-multi`` sentences of all languages. Scores are
    means over the questions with an answer in the pool: ``map`` over the full ranking (the main score),
    ``recall_at_1``, ``recall_at_10``, ``ndcg_at_10``, ``mrr_at_10``, and in the multi subsets ``rank_distance``. Ties
    count against the model. Once all subsets of a setting are done that the task was asked for, each of them also has
    the setting's means, ``macro_map`` and so on.

    A dense encoder encodes each distinct text once, however many subsets run. Sparse encoders, and models with a search
    of their own, take mteb's ordinary way, subset by subset, and get the same measures.

    Attributes:
        data_dir: Folder that holds ``xquad-r/<lang>.json`` and ``mlqa-r/<lang>.json``; by default the variable
            ``ST_HYBRID_DATA``, or else the published files are fetched.
        published: Refuse files that are not the published ones. Turn it off for other data in the same format.
        collection: The questions and sentences, once they are loaded.

    Source: LAReQA, Roy et al. 2020, https://arxiv.org/abs/2004.05484.
    """

    abstask_prompt = "Retrieve the sentence that answers the question."
    _support_cross_encoder = False

    data_dir: str | Path | None = None
    published: bool = True
    collection: RetrievalCollection | None = None
    _pass: _Pass | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._means = RunningMeans()

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """Read the files of the languages that the chosen subsets need; fetch them where there is no local folder."""
        if self.data_loaded:
            return
        name = self.metadata.name
        asked = {language for subset in self.hf_subsets for language in subset.split("-")}
        languages = [language for language in PUBLISHED_COUNTS[name] if MULTI in asked or language in asked]
        folder = lareqa_folder(name, self.data_dir, languages, verify=self.published)
        collection = read_lareqa(folder, languages, name=name)
        if self.published:
            check_counts(collection)
        pools = languages if MULTI in asked else [subset.split("-")[1] for subset in self.hf_subsets]
        self.collection = collection.in_languages([subset.split("-")[0] for subset in self.hf_subsets], pools)
        self.dataset = {subset: {SPLIT: data} for subset, data in _split_data(self.collection, self.hf_subsets).items()}
        self._pass, self._means = None, RunningMeans()
        self.data_loaded = True

    def unload_data(self) -> None:
        """Forget the texts and what the last model made of them."""
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
            TypeError: If the model is a cross-encoder: it cannot rank 13,000 sentences for each of 13,000 questions.
        """
        if isinstance(model, CrossEncoderProtocol):
            raise TypeError(
                f"{self.metadata.name} ranks whole pools, which a cross-encoder cannot do in reasonable time. Pass an "
                f"encoder, or a model with a search of its own."
            )
        if not self.data_loaded:
            self.load_data()
        subsets = [subset for subset in self.hf_subsets if subsets_to_run is None or subset in subsets_to_run]
        if is_plain_encoder(model):
            scores: Mapping[str, Mapping[str, Any]] = self._one_pass(
                model, subsets, dict(encode_kwargs), prediction_folder
            )
        else:
            scores = super().evaluate(
                model,
                split,
                subsets,
                encode_kwargs=encode_kwargs,
                prediction_folder=prediction_folder,
                **kwargs,
            )
        asked: dict[str, list[str]] = {}
        for subset in self.hf_subsets:
            asked.setdefault(setting_of(subset), []).append(subset)
        return self._means.add(model, scores, [Group("macro", part, LAREQA_MEASURES) for part in asked.values()])

    def _one_pass(
        self, model: EncoderProtocol, subsets: list[str], encode_kwargs: dict[str, Any], prediction_folder: Path | None
    ) -> dict[str, dict[str, float]]:
        if self._pass is None or self._pass.model is not model or self._pass.encode_kwargs != encode_kwargs:
            self._pass = self._encode(model, encode_kwargs)
        if prediction_folder is not None:
            for subset in subsets:
                self._save_task_predictions(
                    self._predict(subset), model, prediction_folder, hf_split=SPLIT, hf_subset=subset
                )
        scores = {
            subset: {name: value for name, value in self._pass.scores[subset].items() if name in LAREQA_MEASURES}
            for subset in subsets
        }
        for of_subset in scores.values():
            self._add_main_score(of_subset)
        return scores

    def _encode(self, model: EncoderProtocol, encode_kwargs: dict[str, Any]) -> _Pass:
        assert self.collection is not None

        def encode(texts: Sequence[str], role: Role) -> Floats:
            numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
            vectors = encode_texts(
                model,
                list(numbers),
                role,
                task_metadata=self.metadata,
                hf_split=SPLIT,
                hf_subset=self.hf_subsets[0],
                encode_kwargs=encode_kwargs,
            )
            return vectors[[numbers[text] for text in texts]]

        queries = encode(self.collection.queries, "query")
        candidates = encode(self.collection.candidates, "document")
        scores = score_embeddings(queries, candidates, self.collection, similarity=similarity_of(model))
        return _Pass(model, encode_kwargs, queries, candidates, scores["per_pair"])

    def _predict(self, subset: str) -> dict[str, dict[str, float]]:
        """The best sentences of each question, for mteb's file of predictions."""
        assert self.collection is not None
        assert self._pass is not None
        similarity = similarity_of(self._pass.model)
        if similarity not in SIMILARITIES:
            raise ValueError(f"Predictions are written for the similarities {', '.join(SIMILARITIES)} only.")
        asked, pool = _members(self.collection, subset)
        best = top_rows(
            self._pass.queries[asked], self._pass.candidates[pool], min(_PREDICTIONS, len(pool)), str(similarity)
        )
        names = np.asarray(self.collection.candidate_ids, dtype=object)[pool[best.rows]]
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
        """Measure a model that is no dense encoder on one subset, by its own search or by mteb's."""
        search = model if isinstance(model, SearchProtocol) else SearchEncoderWrapper(model)
        told: dict[str, Any] = {
            "task_metadata": self.metadata,
            "hf_split": hf_split,
            "hf_subset": hf_subset,
            "encode_kwargs": encode_kwargs,
            "num_proc": num_proc,
        }
        search.index(data_split["corpus"], **told)
        found = search.search(data_split["queries"], top_k=len(data_split["corpus"]), **told)
        if prediction_folder is not None:
            self._save_task_predictions(found, model, prediction_folder, hf_split=hf_split, hf_subset=hf_subset)
        return _score_found(found, data_split)


def _members(collection: RetrievalCollection, subset: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the questions and of the candidates of a subset; a question without an answer in it is left out."""
    query, pool = subset.split("-")
    codes = {language: code for code, language in enumerate(collection.languages)}
    inside = np.ones(len(collection.candidates), dtype=bool)
    if pool != MULTI:
        inside = collection.candidate_languages == codes[pool]
    answered = np.zeros(len(collection.queries), dtype=bool)
    answered[collection.relevant_queries[inside[collection.relevant_candidates]]] = True
    return np.flatnonzero(answered & (collection.query_languages == codes[query])), np.flatnonzero(inside)


def _split_data(collection: RetrievalCollection, subsets: Sequence[str]) -> dict[str, RetrievalSplitData]:
    """The subsets as mteb's ordinary evaluation takes them; subsets share their questions and pools."""

    def rows(ids: Sequence[str], texts: Sequence[str], numbers: np.ndarray) -> Dataset:
        return Dataset.from_dict({"id": [ids[i] for i in numbers], "text": [texts[i] for i in numbers]})

    @cache
    def corpus(pool: str, members: bytes) -> Dataset:
        return rows(collection.candidate_ids, collection.candidates, np.frombuffer(members, dtype=np.int64))

    @cache
    def queries(members: bytes) -> Dataset:
        return rows(collection.query_ids, collection.queries, np.frombuffer(members, dtype=np.int64))

    order = np.argsort(collection.relevant_queries, kind="stable")
    first = np.searchsorted(collection.relevant_queries[order], np.arange(len(collection.queries) + 1))
    candidates = collection.relevant_candidates[order]
    data: dict[str, RetrievalSplitData] = {}
    for subset in subsets:
        asked, pool = _members(collection, subset)
        if not len(asked):
            raise ValueError(f"{collection.name}: no question of the subset {subset} has an answer in its pool.")
        inside = np.zeros(len(collection.candidates), dtype=bool)
        inside[pool] = True
        data[subset] = RetrievalSplitData(
            corpus=corpus(subset.split("-")[1], pool.astype(np.int64).tobytes()),
            queries=queries(asked.astype(np.int64).tobytes()),
            relevant_docs={
                collection.query_ids[query]: {
                    collection.candidate_ids[candidate]: 1
                    for candidate in candidates[first[query] : first[query + 1]]
                    if inside[candidate]
                }
                for query in asked
            },
            top_ranked=None,
        )
    return data


def _score_found(found: Mapping[str, Mapping[str, float]], data: RetrievalSplitData) -> dict[str, float]:
    """The measures from the scores that a search gave; what it left out ranks last, and ties count against it."""
    total = len(data["corpus"])
    above, rankings, distances = [], [], []
    judged = data["relevant_docs"]
    for number, (query, relevant) in enumerate(judged.items()):
        scores = found.get(query, {})
        values = np.sort(np.fromiter(scores.values(), dtype=np.float64, count=len(scores)))
        own = np.asarray([scores.get(candidate, -np.inf) for candidate in relevant])
        at_or_above = np.where(np.isneginf(own), total, len(values) - np.searchsorted(values, own, side="left"))
        above.append(at_or_above)
        rankings.append(np.full(len(own), number))
        if len(own) > 1:
            strictly_above = len(values) - np.searchsorted(values, own.max(), side="right")
            distances.append(at_or_above.max() - strictly_above - 1)
    ranking, count = np.concatenate(rankings), len(judged)
    ranks = metrics.pessimistic_ranks(np.concatenate(above), ranking)
    measures = {
        "map": metrics.average_precision(ranks, ranking, count),
        "recall_at_1": metrics.recall_at(1, ranks, ranking, count),
        "recall_at_10": metrics.recall_at(10, ranks, ranking, count),
        "ndcg_at_10": metrics.ndcg_at(10, ranks, ranking, count),
        "mrr_at_10": metrics.reciprocal_rank_at(10, ranks, ranking, count),
    }
    result = {name: float(values.mean()) for name, values in measures.items()}
    return {**result, "rank_distance": float(np.mean(distances))} if distances else result


def _metadata(name: str, **fields: Any) -> CountedTaskMetadata:
    published = PUBLISHED_COUNTS[name]
    subsets = [(query, pool) for query in published for pool in (*published, MULTI)]
    everything = sum(candidates for _, candidates in published.values())
    return CountedTaskMetadata(
        name=name,
        dataset={"path": "google-research-datasets/lareqa", "revision": COMMITS[name]},
        reference="https://github.com/google-research-datasets/lareqa",
        type="Retrieval",
        category="t2t",
        modalities=["text"],
        eval_splits=[SPLIT],
        eval_langs={
            f"{query}-{pool}": [SCRIPTS[language] for language in dict.fromkeys((query, *_pool(pool, published)))]
            for query, pool in subsets
        },
        main_score="map",
        domains=["Encyclopaedic", "Written"],
        task_subtypes=["Question answering"],
        annotations_creators="human-annotated",
        dialect=[],
        prompt={"query": "Given a question, retrieve the sentence that answers it, in any language"},  # type: ignore[arg-type]
        counts={
            SPLIT: {
                f"{query}-{pool}": (published[query][0], everything if pool == MULTI else published[pool][1])
                for query, pool in subsets
            }
        },
        **fields,
    )


def _pool(pool: str, languages: Mapping[str, Any]) -> Sequence[str]:
    return tuple(languages) if pool == MULTI else (pool,)


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
