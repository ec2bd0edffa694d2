"""What removes language from vectors without training, on the whole of XQuAD-R: centring, Shift, LIR and quotas.

    python benchmarks/debiasing.py --model MODEL --rows ROWS.jsonl.gz --bitext BITEXT.jsonl.gz --data-dir DIR --work DIR

The language means and directions come from parallel rows and human translations, never from XQuAD-R. Each method is
scored with known languages and with the languages that the nearest mean names. The strengths and the numbers of
directions were fixed before anything was measured. What ``--work`` holds is not encoded again.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer

from st_hybrid import LanguageCentering, split_groups
from st_hybrid.data import open_rows
from st_hybrid.evaluation import RetrievalCollection, encode_collection, load_lareqa, score_embeddings
from st_hybrid.files import replacing, write_json
from st_hybrid.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "debiasing.json"

PER_LANGUAGE, HELD_OUT = 200, 100  # rows per language to fit on, and to name the languages of
ROLES = ("query", "document")
BOTH, BITEXT, EVALUATED = ("rows", "bitext"), ("bitext",), ("xquad-r",)
# Name: what to fit on, settings of LanguageCentering, and whether the languages are known.
VARIANTS: dict[str, tuple[tuple[str, ...], dict[str, Any], bool]] = {
    "center": (BOTH, {}, True),
    "center, strength .5": (BOTH, {"strength": 0.5}, True),
    "center, languages inferred": (BOTH, {}, False),
    "shift to en": (BOTH, {"method": "shift"}, True),
    "shift to en, strength .5": (BOTH, {"method": "shift", "strength": 0.5}, True),
    "shift to en, languages inferred": (BOTH, {"method": "shift"}, False),
    "lir": (BOTH, {"method": "lir"}, True),
    "lir, 2 components": (BOTH, {"method": "lir", "components": 2}, True),
    "lir, languages inferred": (BOTH, {"method": "lir"}, False),
    "center, means of the bitext alone": (BITEXT, {}, True),
    "center, means of the evaluated texts": (EVALUATED, {}, True),
}


def drawn(rows: Dataset, per_language: int, seed: int) -> Dataset:
    """Rows of each language, of the same groups as far as they go."""
    ids = np.array(rows["id"][:])
    order = {one: place for place, one in enumerate(np.random.default_rng(seed).permutation(np.unique(ids)).tolist())}
    left = dict.fromkeys(rows.unique("language"), per_language)
    chosen = []
    for number in sorted(range(len(rows)), key=lambda row: order[ids[row]]):
        language = rows[number]["language"]
        left[language] -= 1
        if left[language] >= 0:
            chosen.append(number)
    return rows.select(sorted(chosen))


def read(given: argparse.Namespace) -> dict[str, Dataset]:
    """The rows to fit on, and help pages that share no page or passage with them."""
    parts = split_groups(open_rows(str(given.rows))[0], test_size=1000, seed=given.seed)
    bitext = Dataset.from_json(str(given.bitext)).map(
        lambda row: {"query": row["text"].strip(), "positive": row["text"].strip()}, remove_columns=["text"]
    )
    return {
        "rows": drawn(parts["train"], PER_LANGUAGE, given.seed),
        "bitext": drawn(bitext, PER_LANGUAGE, given.seed),
        "held-out": drawn(parts["test"], HELD_OUT, given.seed),
    }


def encoded(given: argparse.Namespace, parts: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """The vectors of each part and the languages of its texts, by role; what the work folder lacks is encoded."""
    missing = {name: part for name, part in parts.items() if not (given.work / f"{name}.npz").is_file()}
    model = SentenceTransformer(str(given.model), device="cpu") if missing else None
    for name, part in missing.items():
        with torch.autocast("cpu", torch.bfloat16, enabled=given.dtype == "bfloat16"):
            if isinstance(part, Dataset):
                query, document = model.encode_query(part["query"][:]), model.encode_document(part["positive"][:])
            else:
                query, document = encode_collection(model, part)
        print(f"{name}: {len(query)} and {len(document)} texts", flush=True)
        with replacing(given.work / f"{name}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, query=np.float32(query), document=np.float32(document))
    found = {}
    for name, part in parts.items():
        found[name] = dict(np.load(given.work / f"{name}.npz"))
        if isinstance(part, Dataset):
            languages = dict.fromkeys(ROLES, np.array(part["language"][:]))
        else:
            codes = np.array(part.languages)
            languages = {"query": codes[part.query_languages], "document": codes[part.passage_languages]}
        found[name] |= {f"{role} languages": languages[role] for role in ROLES}
    return found


def fitted(vectors: dict[str, dict[str, np.ndarray]], names: tuple[str, ...], **settings: Any) -> LanguageCentering:
    """The centering of the vectors of these parts."""
    given = [
        np.concatenate([vectors[name][f"{role}{what}"] for name in names])
        for role in ROLES
        for what in ("", " languages")
    ]
    return LanguageCentering.from_embeddings(*given, **settings)


def measure(vectors: dict[str, dict[str, np.ndarray]], collection: RetrievalCollection, done: dict[str, Any]) -> None:
    """Add the scores of each variant that is not done yet."""
    texts = vectors["xquad-r"]
    for name in ("untouched", "quotas", *VARIANTS):
        if name in done:
            continue
        embeddings = [texts[role] for role in ROLES]
        if name in VARIANTS:
            fit_on, settings, known = VARIANTS[name]
            centering = fitted(vectors, fit_on, **settings)
            embeddings = [
                centering.transform(texts[role], texts[f"{role} languages"].tolist() if known else None, role)
                for role in ROLES
            ]
        scores = score_embeddings(*embeddings, collection, quotas=name == "quotas")
        done[name] = {
            **{kind: round(part.map, 4) for kind, part in scores.by_setting.items()},
            "rank_distance": round(scores.rank_distance or 0),
            "peer_at_20": round(scores.multilingual.peer_at_20 or 0, 4),
            "own_language_in_top_10": round(
                float(np.mean([shares[code] for code, shares in scores.top_10_languages.items()])), 4
            ),
        }
        print(name, done[name], flush=True)


def named_right(vectors: dict[str, dict[str, np.ndarray]], fit_on: tuple[str, ...]) -> dict[str, Any]:
    """Share of the texts of each language whose nearest mean is that of their language; what others are taken for."""
    centering, found = fitted(vectors, fit_on), {}
    for name in ("xquad-r", "held-out"):
        for role in ROLES:
            languages = vectors[name][f"{role} languages"]
            nearest, codes = centering.nearest_languages(vectors[name][role], role), np.unique(languages).tolist()
            shares = {code: round(float((nearest[languages == code] == code).mean()), 4) for code in codes}
            wrong = {code: Counter(nearest[(languages == code) & (nearest != code)].tolist()) for code in codes}
            found[f"{name}, {role}"] = {
                "mean": round(float(np.mean(list(shares.values()))), 4),
                "share": shares,
                "taken_for": {code: dict(others.most_common(3)) for code, others in wrong.items() if others},
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="encoder")
    parser.add_argument("--rows", type=Path, required=True, help="parallel rows")
    parser.add_argument("--bitext", type=Path, required=True, help="JSON lines with id, language and text")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder that holds xquad-r/<lang>.json")
    parser.add_argument("--work", type=Path, required=True, help="folder for the vectors and scores")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="type to encode in")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file")
    given = parser.parse_args()

    collection = load_lareqa("XQuAD-R", given.data_dir)
    rows = read(given)
    vectors = encoded(given, {**rows, "xquad-r": collection})
    results: dict[str, Any] = {
        **provenance(),
        "model": given.model.name,
        "rows": {name: dict(sorted(Counter(part["language"]).items())) for name, part in rows.items()},
        "nearest_mean_is_right": {" and ".join(names): named_right(vectors, names) for names in (BOTH, BITEXT)},
        "variants": {},
    }
    kept = given.work / "variants.json"
    if kept.is_file():
        results["variants"] = json.loads(kept.read_text(encoding="utf-8"))
    try:
        measure(vectors, collection, results["variants"])
    finally:
        write_json(kept, results["variants"])
    write_json(given.output, results)
    table = Table("XQuAD-R", "Mo.", "Cr.", "Mul.", "rank distance", "PEER", "own language in the first 10")
    for name, scores in results["variants"].items():
        table.add_row(name, *map(str, scores.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
