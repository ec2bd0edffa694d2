"""What removes language from vectors without training, on the whole of XQuAD-R: centring, Shift, LIR and quotas.

    python benchmarks/debiasing.py --model MODEL --rows ROWS.jsonl.gz --bitext BITEXT.jsonl.gz --data-dir DIR --work DIR

The language means and directions come from parallel rows and human translations, never from XQuAD-R. Each method is
scored with known languages and with the languages that the nearest mean names. The strengths and the numbers of
directions were fixed before anything was measured. What ``--work`` holds is not encoded again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer

from st_hybrid import split_groups
from st_hybrid.data import open_rows
from st_hybrid.evaluation import encode_collection, load_lareqa
from st_hybrid.files import replacing

PER_LANGUAGE, HELD_OUT = 200, 100  # rows per language to fit on, and to name the languages of


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


def encode(given: argparse.Namespace) -> None:
    """Encode what the work folder does not hold yet."""
    collection = load_lareqa("XQuAD-R", given.data_dir)
    parts = {**read(given), "xquad-r": collection}
    missing = {name: part for name, part in parts.items() if not (given.work / f"{name}.npz").is_file()}
    model = SentenceTransformer(str(given.model), device="cpu") if missing else None
    for name, part in missing.items():
        with torch.autocast("cpu", torch.bfloat16, enabled=given.bf16):
            if isinstance(part, Dataset):
                query, document = model.encode_query(part["query"][:]), model.encode_document(part["positive"][:])
            else:
                query, document = encode_collection(model, part)
        print(f"{name}: {len(query)} and {len(document)} texts", flush=True)
        with replacing(given.work / f"{name}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, query=np.float32(query), document=np.float32(document))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="encoder")
    parser.add_argument("--rows", type=Path, required=True, help="parallel rows")
    parser.add_argument("--bitext", type=Path, required=True, help="JSON lines with id, language and text")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder that holds xquad-r/<lang>.json")
    parser.add_argument("--work", type=Path, required=True, help="folder for the vectors")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws")
    parser.add_argument("--bf16", action="store_true", help="encode in bfloat16")
    given = parser.parse_args()
    encode(given)
