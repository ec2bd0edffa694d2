"""XQuAD-R as st-hybrid's task and as an ordinary retrieval task of mteb: seconds, texts encoded, scores.

    python benchmarks/one_pass.py --model MODEL --data-dir DIR --output benchmarks/results/one_pass.json

Both get the same 20 subsets: every pair of four languages, and each of them over the pool of all eleven. The ordinary
task runs without and with mteb's embedding cache (empty before). The script counts every text that reaches the model.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import mteb
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.models.cache_wrappers import CachedEmbeddingWrapper
from sentence_transformers import SentenceTransformer

from st_hybrid.files import write_json
from st_hybrid.provenance import provenance
from st_hybrid.tasks import XQuADR

MEASURES = ("recall_at_1", "recall_at_10", "ndcg_at_10", "mrr_at_10")


class CountingEncoder(mteb.SentenceTransformerEncoderWrapper):
    """mteb's wrapper of sentence-transformers, counting the texts that it encodes."""

    encoded = 0

    def encode(self, inputs: Any, **kwargs: Any) -> Any:
        """Encode as mteb does."""
        self.encoded += len(inputs.dataset)
        return super().encode(inputs, **kwargs)


def task(data_dir: Path, languages: list[str]) -> XQuADR:
    """The task with its subsets, loaded."""
    chosen = XQuADR().filter_languages(None, hf_subsets=[f"{a}-{b}" for a in languages for b in (*languages, "multi")])
    chosen.data_dir = data_dir
    chosen.load_data()
    return chosen


def ordinary(data_dir: Path, languages: list[str]) -> AbsTaskRetrieval:
    """The same subsets as a task that knows nothing of one another's texts."""
    data = task(data_dir, languages)

    class Ordinary(AbsTaskRetrieval):
        metadata = data.metadata.model_copy(update={"name": "XQuAD-R-ordinary", "main_score": "ndcg_at_10"})

    plain = Ordinary().filter_languages(None, hf_subsets=data.hf_subsets)
    plain.dataset, plain.data_loaded = data.dataset, True
    return plain


def main() -> None:
    """Run the three ways and write what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--languages", nargs="+", default=["de", "en", "th", "zh"])
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    model = SentenceTransformer(given.model)
    ways, scores = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("st-hybrid", "mteb with embedding cache", "mteb"):
            encoder = CountingEncoder(model)
            chosen = (task if name == "st-hybrid" else ordinary)(given.data_dir, given.languages)
            outer = CachedEmbeddingWrapper(encoder, folder) if "cache" in name else encoder
            began = time.perf_counter()
            (result,) = mteb.evaluate(outer, chosen, cache=None, show_progress_bar=False).task_results
            ways[name] = {"seconds": round(time.perf_counter() - began, 1), "texts_encoded": encoder.encoded}
            scores[name] = {s["hf_subset"]: s for s in result.scores["test"]}
            print(name, ways[name], flush=True)
    ours = scores["st-hybrid"]
    for name, others in scores.items():
        ways[name]["largest_difference"] = max(
            abs(others[subset][measure] - ours[subset][measure]) for subset in ours for measure in MEASURES
        )
    report = {
        **provenance(),
        "setting": {
            "languages": given.languages,
            "subsets": len(ours),
            "layers": model.transformers_model.config.num_hidden_layers,
        },
        "ways": ways,
    }
    print(json.dumps(report, indent=2))
    if given.output:
        write_json(given.output, report)


if __name__ == "__main__":
    main()
