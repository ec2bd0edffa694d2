"""MIRACL as a task of mteb, for up to 33 million passages per language."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytrec_eval
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalDatasetLoader, RetrievalSplitData

from st_hybrid.evaluation.miracl import PUBLISHED_COUNTS, SPLIT, miracl_languages, read_miracl
from st_hybrid.search.nearest import SIMILARITIES
from st_hybrid.tasks.mteb_encoder import is_plain_encoder, similarity_of
from st_hybrid.tasks.registry import adapted_metadata
from st_hybrid.tasks.sharded_search import ShardedSearch


def load_miracl(language: str, data_dir: str | Path | None = None) -> RetrievalSplitData:
    """Load one language of MIRACL.

    Args:
        language: Language code.
        data_dir: Folder in MIRACL's layout; by default ``ST_HYBRID_DATA``, else mteb's copy on the hub, pinned.

    Returns:
        Passages (which stay on disk), queries and judgements, as mteb's retrieval tasks take them.

    Raises:
        ValueError: MIRACL does not have the language, or a file is malformed.
        FileNotFoundError: ``data_dir`` lacks a file.

    Example:
        ::

            from st_hybrid.tasks import load_miracl

            swahili = load_miracl("sw", "data/miracl")
            print(len(swahili["corpus"]), len(swahili["queries"]))
    """
    if language not in PUBLISHED_COUNTS:
        raise ValueError(f"MIRACL has no language {language!r}, only {', '.join(PUBLISHED_COUNTS)}.")
    if folder := data_dir or os.environ.get("ST_HYBRID_DATA"):
        read = read_miracl(folder, language)
        return {"corpus": read.corpus, "queries": read.queries, "relevant_docs": read.judgements, "top_ranked": None}
    source = MIRACL.metadata.dataset
    return RetrievalDatasetLoader(source["path"], source["revision"], split=SPLIT, config=language).load()


def available_languages(data_dir: str | Path | None = None) -> list[str]:
    """Languages in a folder in MIRACL's official layout, or all 18 if neither it nor ``ST_HYBRID_DATA`` is given."""
    folder = data_dir or os.environ.get("ST_HYBRID_DATA")
    languages = miracl_languages(folder) if folder else list(PUBLISHED_COUNTS)
    if not languages:
        raise FileNotFoundError(f"MIRACL: {folder} holds no miracl-v1.0-<language> folder.")
    return languages


def score_language(
    search: ShardedSearch, language: str, data_dir: str | Path | None = None, *, encode_kwargs: dict[str, Any]
) -> tuple[dict[str, Any], pa.Table]:
    """Measure a model on one language, query by query.

    Returns:
        The fields of :class:`~st_hybrid.evaluation.results.MiraclLanguageScores` but ``seconds``, and a table of the
        queries: ``query_id``, ``query_language``, ``pool``, ``ndcg_at_10`` and ``recall_at_100``.
    """
    data = load_miracl(language, data_dir)
    search.index(data["corpus"])
    about: dict[str, Any] = {"task_metadata": MIRACL.metadata, "hf_split": SPLIT, "hf_subset": language}
    found = search.search(data["queries"], top_k=max(MIRACL.k_values), encode_kwargs=encode_kwargs, **about)
    judged = pytrec_eval.RelevanceEvaluator(data["relevant_docs"], {"ndcg_cut.10", "recall.100"}).evaluate(found)
    names = {"ndcg_at_10": "ndcg_cut_10", "recall_at_100": "recall_100"}
    measures = {name: [of_query[theirs] for of_query in judged.values()] for name, theirs in names.items()}
    same = [language] * len(judged)
    table = pa.table({"query_id": list(judged), "query_language": same, "pool": same, **measures})
    scores: dict[str, Any] = {name: float(np.mean(values)) for name, values in measures.items()}
    if language in search.index_recall:
        scores["index_recall_at_100"] = search.index_recall[language]
    return {**scores, "queries": len(data["queries"]), "passages": len(data["corpus"])}, table


class MIRACL(AbsTaskRetrieval):
    """MIRACL: passage retrieval within each of 18 languages, over whole Wikipedias.

    mteb computes ``ndcg_at_10`` (the main score), ``recall_at_100`` and others of each language;
    :func:`~st_hybrid.tasks.group_means` averages them. The task wraps dense encoders in
    :class:`~st_hybrid.tasks.ShardedSearch`; wrap the model yourself to keep its embeddings or to search approximately.
    Models with a search of their own, and encoders with a similarity that faiss does not have, are evaluated in mteb's
    ordinary way. Cross-encoders are refused.

    Attributes:
        data_dir: Folder in MIRACL's layout; by default ``ST_HYBRID_DATA``, else mteb's copy on the hub, pinned.

    Source: MIRACL, Zhang et al. 2023, https://doi.org/10.1162/tacl_a_00595.
    """

    metadata = adapted_metadata(
        "MIRACLRetrieval",
        name="MIRACL",
        description="Retrieval of Wikipedia passages that answer a question, within each of 18 languages.",
        task_subtypes=["Question answering"],
        counts={SPLIT: PUBLISHED_COUNTS},
    )
    _support_cross_encoder = False
    data_dir: str | Path | None = None

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """Prepare to load each language when it is evaluated, since all of them together take long."""
        self.dataset, self.data_loaded = _Languages(self.data_dir), True

    def _evaluate_subset(self, model: Any, *args: Any, hf_subset: str, **kwargs: Any) -> dict[str, Any]:
        if is_plain_encoder(model) and similarity_of(model) in SIMILARITIES:
            model = ShardedSearch(model)
        scores = dict(super()._evaluate_subset(model, *args, hf_subset=hf_subset, **kwargs))
        if isinstance(model, ShardedSearch) and hf_subset in model.index_recall:
            scores["index_recall_at_100"] = model.index_recall[hf_subset]
        return scores


class _Languages(dict[str, dict[str, RetrievalSplitData]]):
    """Data of each language, loaded when mteb asks for it; the previous language is dropped."""

    def __init__(self, data_dir: str | Path | None) -> None:
        super().__init__()
        self._data_dir = data_dir

    def __missing__(self, language: str) -> dict[str, RetrievalSplitData]:
        self.clear()
        self[language] = {SPLIT: load_miracl(language, self._data_dir)}
        return self[language]
