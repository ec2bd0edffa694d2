"""The tasks through mteb on real data: encoders on XQuAD-R and MIRACL, and BM25 as a floor.

    python benchmarks/mteb_tasks.py --data-dir DIR --miracl-dir DIR --model NAME=FOLDER ...

evaluates each model on the whole of XQuAD-R, and on every language found in ``--miracl-dir``, with ``mteb.evaluate``,
and writes mteb's own result files to ``RESULTS/<name>/``; what is there already is not run again.
BM25 is mteb's ``mteb/baseline-bm25s``. ``MIRACL-peer.json`` holds, beside each encoder's scores on MIRACL, those of a
brute-force ranking by numpy in float64 and pytrec_eval. The tables are printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytrec_eval
from sentence_transformers import SentenceTransformer

from st_hybrid.evaluation.miracl import miracl_languages
from st_hybrid.files import write_json
from st_hybrid.provenance import provenance
from st_hybrid.tasks import MIRACL, XQuADR, group_means, load_miracl

RESULTS = Path(__file__).parent / "results" / "mteb"
BM25 = "bm25"


def evaluate(folder: Path, model: Any, task: mteb.AbsTask) -> mteb.TaskResult:
    """Run a task, or read what an earlier run wrote into the folder."""
    path = folder / f"{task.metadata.name}.json"
    if path.is_file():
        return mteb.TaskResult.from_disk(path)
    (result,) = mteb.evaluate(model(), task, cache=None).task_results
    path.parent.mkdir(parents=True, exist_ok=True)
    result.to_disk(path)
    write_json(folder / "provenance.json", provenance())
    return result


def brute_force(model: SentenceTransformer, folder: Path, language: str) -> dict[str, float]:
    """nDCG@10 and recall@100 of a language by numpy and pytrec_eval, without any code of ours but the reader."""
    data = load_miracl(language, folder)
    titles, texts = data["corpus"]["title"][:], data["corpus"]["text"][:]
    passages = model.encode_document([f"{a} {b}".strip() for a, b in zip(titles, texts, strict=True)])
    queries = model.encode_query(data["queries"]["text"][:])
    found, ids = {}, np.asarray(data["corpus"]["id"][:], dtype=object)
    for query, vector in zip(data["queries"]["id"][:], queries.astype(np.float64), strict=True):
        scores = passages @ vector
        best = np.argsort(-scores)[:1000]
        found[query] = dict(zip(ids[best], scores[best].tolist(), strict=True))
    evaluator = pytrec_eval.RelevanceEvaluator(data["relevant_docs"], {"ndcg_cut.10", "recall.100"})
    of_queries = list(evaluator.evaluate(found).values())
    return {
        "ndcg_at_10": float(np.mean([scores["ndcg_cut_10"] for scores in of_queries])),
        "recall_at_100": float(np.mean([scores["recall_100"] for scores in of_queries])),
    }


def compare(output: Path, model: Any, folder: Path, result: mteb.TaskResult) -> None:
    """Write the scores of MIRACL beside those of the brute force."""
    path = output / "MIRACL-peer.json"
    if path.is_file():
        return
    peers = {}
    for scores in result.scores["dev"]:
        language = scores["hf_subset"]
        ours = {measure: scores[measure] for measure in ("ndcg_at_10", "recall_at_100")}
        peers[language] = {"st-hybrid": ours, "numpy and pytrec_eval": brute_force(model(), folder, language)}
    write_json(path, {**provenance(), "languages": peers})


def table(results: Path) -> str:
    """All results as Markdown tables."""
    lines = ["| XQuAD-R | Mo. | Cr. | Mul. | rank distance |", "|---|---|---|---|---|"]
    for path in sorted(results.glob("*/XQuAD-R.json")):
        means = group_means(mteb.TaskResult.from_disk(path))
        cells = [f"{means[kind]['map']:.4f}"[1:] for kind in ("monolingual", "cross_lingual", "multilingual")]
        distance = means["multilingual"]["rank_distance"]
        lines.append(f"| {path.parent.name} | {' | '.join(cells)} | {distance:,.0f} |")
    for path in sorted(results.glob("*/MIRACL.json")):
        result = mteb.TaskResult.from_disk(path)
        scores = {of_subset["hf_subset"]: of_subset for of_subset in result.scores["dev"]}
        if not lines[-1].startswith("| ") or "nDCG" not in "".join(lines):
            lines += ["", f"| MIRACL's layout, nDCG@10 / recall@100 | {' | '.join(scores)} | mean |"]
            lines.append("|---" * (len(scores) + 2) + "|")
        every = [*scores.values(), group_means(result)["all"]]
        cells = [f"{s['ndcg_at_10']:.4f} / {s['recall_at_100']:.4f}".replace("0.", ".") for s in every]
        lines.append(f"| {path.parent.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Evaluate everything that is not there yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder that holds xquad-r/<lang>.json")
    parser.add_argument("--miracl-dir", type=Path, help="folder in MIRACL's official layout")
    parser.add_argument("--model", action="append", default=[], help="NAME=FOLDER; may be given again")
    parser.add_argument("--subsets", nargs="+", help="subsets of XQuAD-R; all by default")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    given = parser.parse_args()
    models = {name: folder for name, _, folder in (pair.partition("=") for pair in given.model)}
    for name, folder in {**models, BM25: ""}.items():

        def model(name: str = name, folder: str = folder) -> Any:
            return mteb.get_model("mteb/baseline-bm25s") if name == BM25 else SentenceTransformer(folder)

        if given.miracl_dir:
            languages = miracl_languages(given.miracl_dir)
            miracl = MIRACL().filter_languages(None, hf_subsets=languages)
            miracl.data_dir = given.miracl_dir
            result = evaluate(given.results / name, model, miracl)
            if name != BM25:
                compare(given.results / name, model, given.miracl_dir, result)
        if given.data_dir:
            xquad = XQuADR().filter_languages(None, hf_subsets=given.subsets)
            xquad.data_dir = given.data_dir
            evaluate(given.results / name, model, xquad)
    print(table(given.results))


if __name__ == "__main__":
    main()
