"""XQuAD-R and MLQA-R as tasks of mteb: monolingual, cross-lingual and multilingual retrieval in one encoding pass."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mteb
import numpy as np
from datasets import Dataset
from mteb import EncoderProtocol, SearchProtocol
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.models.search_wrappers import SearchEncoderWrapper

from st_hybrid.evaluation import PUBLISHED_COUNTS, RetrievalCollection, SettingScores, load_lareqa, score_embeddings
from st_hybrid.evaluation.lareqa import COMMITS
from st_hybrid.evaluation.results import MEASURES, MULTI
from st_hybrid.evaluation.scoring import Floats, score_search
from st_hybrid.languages import mteb_code
from st_hybrid.search.encoding import encode_distinct
from st_hybrid.search.nearest import top_rows
from st_hybrid.tasks.means import LAREQA_MEASURES
from st_hybrid.tasks.mteb_encoder import encode_texts, is_plain_encoder, similarity_of
from st_hybrid.tasks.registry import CountedTaskMetadata, adapted_metadata

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
    ``recall_at_10``, ``ndcg_at_10``, ``mrr_at_10``, and in the multi subsets ``rank_distance``; ties count against the
    model. :func:`~st_hybrid.tasks.group_means` averages them over the subsets of a kind.

    A dense encoder encodes each distinct text once, however many subsets run. Sparse encoders and models with their own
    search run subset by subset, as in mteb's tasks, and get the same measures. Cross-encoders are refused.

    Attributes:
        data_dir: Folder with ``xquad-r/<lang>.json``; by default ``ST_HYBRID_DATA``, else a download.
        verify: Refuse files that are not the published ones. Turn it off for other data in the same format.
        collection: The queries and passages, once they are loaded.

    Source: LAReQA, Roy et al. 2020, https://arxiv.org/abs/2004.05484.
    """

    abstask_prompt = "Retrieve the sentence that answers the question."
    _support_cross_encoder = False
    data_dir: str | Path | None = None
    verify: bool = True
    collection: RetrievalCollection | None = None
    _pass: _Pass | None = None

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
        self.dataset = {subset: {SPLIT: _split_data(self.collection, subset)} for subset in self.hf_subsets}
        self.data_loaded = True

    def unload_data(self) -> None:
        """Drop the texts, and the embeddings of the last model."""
        super().unload_data()
        self.collection, self._pass = None, None

    def _evaluate_subset(
        self,
        model: Any,
        data_split: RetrievalSplitData,
        *,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: Any,
        prediction_folder: Path | None = None,
        **_: Any,
    ) -> dict[str, float]:
        about: dict[str, Any] = {"hf_split": hf_split, "hf_subset": hf_subset}
        context = {**about, "task_metadata": self.metadata, "encode_kwargs": encode_kwargs}
        found: Mapping[str, Mapping[str, float]] = {}
        if is_plain_encoder(model):
            if self._pass is None or self._pass.model is not model or self._pass.encode_kwargs != encode_kwargs:
                self._pass = self._encode(model, context)
            scores = self._pass.scores[hf_subset]
            if prediction_folder is not None:
                found = self._predict(self._pass, data_split)
        else:
            search = model if isinstance(model, SearchProtocol) else SearchEncoderWrapper(model)
            corpus = data_split["corpus"]
            search.index(corpus, num_proc=None, **context)
            found = search.search(data_split["queries"], top_k=len(corpus), num_proc=None, **context)
            scores = score_search(found, data_split["relevant_docs"], len(corpus))
        if prediction_folder is not None:
            self._save_task_predictions(found, model, prediction_folder, **about)
        measures = LAREQA_MEASURES if hf_subset.endswith(MULTI) else MEASURES
        return {name: value for name, value in scores.to_dict().items() if name in measures}

    def _encode(self, model: EncoderProtocol, context: dict[str, Any]) -> _Pass:
        assert self.collection is not None
        queries = encode_distinct(partial(encode_texts, model, role="query", **context), self.collection.queries)
        passages = encode_distinct(partial(encode_texts, model, role="document", **context), self.collection.passages)
        scores = score_embeddings(queries, passages, self.collection, similarity=similarity_of(model))
        return _Pass(model, dict(context["encode_kwargs"]), queries, passages, scores.per_pair)

    def _predict(self, encoded: _Pass, data: RetrievalSplitData) -> dict[str, dict[str, float]]:
        """The best passages of each query of a subset, for mteb's file of predictions."""
        assert self.collection is not None
        query_row = {text: row for row, text in enumerate(self.collection.queries)}
        passage_row = {text: row for row, text in enumerate(self.collection.passages)}
        queries = encoded.queries[[query_row[text] for text in data["queries"]["text"][:]]]
        passages = encoded.passages[[passage_row[text] for text in data["corpus"]["text"][:]]]
        best = top_rows(queries, passages, min(_PREDICTIONS, len(passages)), str(similarity_of(encoded.model)))
        names = np.asarray(data["corpus"]["id"][:], dtype=object)[best.rows]
        return {
            query: dict(zip(*of_query, strict=True))
            for query, *of_query in zip(data["queries"]["id"][:], names, best.scores.tolist(), strict=True)
        }


def _split_data(collection: RetrievalCollection, subset: str) -> RetrievalSplitData:
    """A subset in mteb's format, without the queries that have no answer in its pool."""
    query, pool = subset.split("-")
    part = collection.in_languages([query], collection.languages if pool == MULTI else [pool])
    relevant: dict[str, dict[str, int]] = {}
    for asked, passage in zip(part.relevant_queries.tolist(), part.relevant_passages.tolist(), strict=True):
        relevant.setdefault(part.query_ids[asked], {})[part.passage_ids[passage]] = 1
    queries = [pair for pair in zip(part.query_ids, part.queries, strict=True) if pair[0] in relevant]
    return RetrievalSplitData(
        corpus=Dataset.from_dict({"id": part.passage_ids, "text": part.passages}),
        queries=Dataset.from_dict(dict(zip(("id", "text"), zip(*queries, strict=True), strict=True))),
        relevant_docs=relevant,
        top_ranked=None,
    )


_LAREQA = r"""
@inproceedings{roy-etal-2020-lareqa,
  author = {Roy, Uma and Constant, Noah and Al-Rfou, Rami and Barua, Aditya and Phillips, Aaron and Yang, Yinfei},
  title = {{LAR}e{QA}: Language-Agnostic Answer Retrieval from a Multilingual Pool},
  booktitle = {Proceedings of the 2020 Conference on Empirical Methods in Natural Language Processing (EMNLP)},
  year = {2020}, eprint = {2004.05484}, archiveprefix = {arXiv},
}
"""


def _metadata(name: str, original: str, **changes: Any) -> CountedTaskMetadata:
    published = PUBLISHED_COUNTS[name]
    pools = {language: ([language], passages) for language, (_, passages) in published.items()}
    pools[MULTI] = (list(published), sum(passages for _, passages in published.values()))
    subsets = [(query, pool) for query in published for pool in pools]
    return adapted_metadata(
        original,
        name=name,
        dataset={"path": "google-research-datasets/lareqa", "revision": COMMITS[name]},
        reference="https://github.com/google-research-datasets/lareqa",
        eval_splits=[SPLIT],
        eval_langs={
            f"{query}-{pool}": [mteb_code(language) for language in dict.fromkeys([query, *pools[pool][0]])]
            for query, pool in subsets
        },
        main_score="map",
        domains=["Encyclopaedic", "Written"],
        prompt={"query": "Given a question, retrieve the sentence that answers it, in any language"},
        bibtex_citation=_LAREQA + (mteb.get_task(original).metadata.bibtex_citation or ""),
        counts={SPLIT: {f"{query}-{pool}": (published[query][0], pools[pool][1]) for query, pool in subsets}},
        **changes,
    )


class XQuADR(LareqaTask):
    """XQuAD-R: 1,190 questions in each of 11 languages, each answered by a sentence of every language."""

    metadata = _metadata(
        "XQuAD-R",
        "XQuADRetrieval",
        description="Retrieval of the sentence that answers a question, from one language or from all 11 together.",
        date=("2019-05-21", "2020-04-10"),
        sample_creation="human-translated",
    )


class MLQAR(LareqaTask):
    """MLQA-R: questions in 7 languages, each answered in 2 to 4 of them, over the sentences of MLQA's paragraphs."""

    metadata = _metadata(
        "MLQA-R",
        "MLQARetrieval",
        description="Retrieval of the sentence that answers a question, from one language or from all 7 together.",
        date=("2019-10-16", "2020-04-10"),
        license="cc-by-nc-4.0",
    )
