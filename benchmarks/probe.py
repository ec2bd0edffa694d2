"""Does the language preference that ``st-hybrid probe`` measures predict what a mixed pool costs in retrieval?

A share of each language's mean vector is subtracted from the embeddings of a sample of XQuAD-R: -0.5 strengthens the
language bias of the model, 0 leaves it, 1 centers. For each share the retrieval scores, which need questions and
answers, are put beside the measures of the probe, which need neither.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

import numpy as np
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer

from st_hybrid.dtypes import Dtype
from st_hybrid.encoders import load_encoder, require_dense
from st_hybrid.evaluation import (
    RetrievalCollection,
    encode_collection,
    load_lareqa,
    probe_embeddings,
    score_embeddings,
)
from st_hybrid.files import write_json
from st_hybrid.provenance import provenance

SHARES = (-0.5, 0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
MEASURES = ("language_variance", "nearest_mean_accuracy", "preference", "preference_centered")


def without_means(vectors: np.ndarray, language: np.ndarray, share: float) -> np.ndarray:
    """Unit vectors less a share of the mean of their language."""
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    means = np.stack([vectors[language == code].mean(axis=0) for code in range(language.max() + 1)])
    vectors = vectors - share * means[language]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def measure(model: SentenceTransformer, collection: RetrievalCollection) -> list[dict[str, Any]]:
    """Scores and measures for each share of the means."""
    queries, passages = (np.float32(part) for part in encode_collection(model, collection))
    languages = [collection.languages[code] for code in collection.passage_languages]
    rows = []
    for share in SHARES:
        query = without_means(queries, collection.query_languages, share)
        passage = without_means(passages, collection.passage_languages, share)
        scores, probe = score_embeddings(query, passage, collection), probe_embeddings(passage, languages)
        means = {name: round(part.map, 4) for name, part in scores.by_setting.items()}
        found = {name: round(getattr(probe, name).value, 4) for name in MEASURES}
        rows.append({"share": share, **means, "rank_distance": round(scores.rank_distance or 0), **found})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True, help="folder or hub name; may be repeated")
    parser.add_argument("--data-dir", type=Path, help="folder with xquad-r")
    parser.add_argument("--sample", type=int, default=150, help="questions, each in 11 languages")
    parser.add_argument("--dtype", choices=get_args(Dtype), help="type to encode in (that of the weights by default)")
    parser.add_argument("--output", type=Path, required=True, help="JSON file")
    arguments = parser.parse_args()

    collection = load_lareqa("XQuAD-R", arguments.data_dir).sample(arguments.sample, seed=0)
    results = {}
    for name in arguments.model:
        model = require_dense(load_encoder(name, dtype=arguments.dtype, device="cpu"), "A probe")
        rows = results[Path(name).name] = measure(model, collection)
        table = Table(title=Path(name).name)
        for header in rows[0]:
            table.add_column(header, justify="right")
        for row in rows:
            table.add_row(*map(str, row.values()))
        Console().print(table)
    counts = {"queries": len(collection.queries), "passages": len(collection.passages)}
    write_json(arguments.output, {**provenance(), "sample": counts, "results": results})


if __name__ == "__main__":
    main()
