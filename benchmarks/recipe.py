"""Search for the recipe that brings an encoder furthest, on data that are not evaluated.

    python benchmarks/recipe.py --start MODEL --data-dir DIR --work DIR

``--data-dir`` holds ``qa``, ``bitext`` and ``help-parallel.jsonl.gz``. Candidates are trained on questions that people
asked in Arabic, Chinese, Japanese and Thai and on human translations of news and of messages of programs. They are
compared on the last tenth of each set of questions (Mo.) and on help pages, of which none is in the training (Mo., Cr.,
Mul., rank distance). A run that was killed continues where it stopped.
"""

import argparse
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from methods import PROMPTS, QUESTION_SETS, SCALE, read_rows
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer

from st_hybrid.data import open_rows, read_squad
from st_hybrid.evaluation import SETTINGS, RetrievalCollection, encode_collection, score_queries
from st_hybrid.files import write_json
from st_hybrid.methods.merging import merged_weights
from st_hybrid.provenance import provenance
from st_hybrid.recipe import Recipe
from st_hybrid.training import finetune

RESULTS = Path(__file__).parent / "results" / "recipe-search.json"
HELD_OUT = 0.1  # of each set of questions
QUESTIONS, DISTRACTORS, HELP_GROUPS = 150, 1200, 120
COMMON: dict[str, Any] = {
    "batch_size": 48,
    "learning_rate": 5e-5,
    "scale": SCALE,
    "max_length": 80,
    "freeze_embeddings": True,
    "save_steps": 60,
    "query_prompt": PROMPTS["query"],
    "document_prompt": PROMPTS["positive"],
}
NATIVE = ("ar arcd", "zh cmrc", "zh drcd", "ja jaquad", "th iapp")
BESIDE = " and the sentence beside"  # the answer, as a hard negative
HARD_NATIVE = tuple(f"{name}{BESIDE}" for name in NATIVE if name != "th iapp")  # whose answers are paragraphs
TRANSLATIONS = ("news", "software")
HARD = {"same_document": True, "anchor": "en"}


@dataclass(frozen=True)
class Candidate:
    """A training: its sets, how its recipe differs, and the candidate that it starts from."""

    sets: tuple[str, ...] = (*NATIVE, *TRANSLATIONS)
    recipe: dict[str, Any] = field(default_factory=dict)
    start: str | None = None


CANDIDATES = {
    "questions alone": Candidate(NATIVE, {"sampler": "x-x-mono", "max_steps": 120}),
    "questions alone, longer": Candidate(NATIVE, {"sampler": "x-x-mono", "max_steps": 360}),
    "questions alone, hard": Candidate(HARD_NATIVE, {"sampler": "x-x-mono", "max_steps": 180}),
    "one stage": Candidate(recipe={"alpha": 0.4, "max_steps": 240, **HARD}),
    "two stages": Candidate(recipe={"alpha": 0.3, "max_steps": 240, **HARD}, start="questions alone"),
    "two stages, more questions and distillation": Candidate(
        recipe={"alpha": 0.5, "max_steps": 240, **HARD, "anchor_weight": 10.0}, start="questions alone"
    ),
    "two stages, much distillation": Candidate(
        recipe={"alpha": 0.5, "max_steps": 240, **HARD, "anchor_weight": 25.0}, start="questions alone"
    ),
}


def split_questions(sets: dict[str, Dataset]) -> tuple[dict[str, Dataset], RetrievalCollection]:
    """The sets without the last tenth of their questions, and a collection of these.

    Its pool holds their answers, the sentences beside these, and other answers of the set.
    """
    kept = {name: rows for name, rows in sets.items() if not name.startswith(NATIVE)}
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    relevant: dict[str, list[str]] = {}
    for name in NATIVE:
        forms = [one for one in (f"{name}{BESIDE}", name) if one in sets]
        rows, language = sets[forms[0]], name[:2]
        test = rows.select(range(round(len(rows) * (1 - HELD_OUT)), len(rows)))
        ids, passages = set(test["id"][:]), set(test["positive"][:])
        for form in forms:
            texts = zip(sets[form]["id"][:], sets[form]["positive"][:], strict=True)
            kept[form] = sets[form].select(np.flatnonzero([id_ not in ids and t not in passages for id_, t in texts]))
        rng = np.random.default_rng(0)
        answers = sorted(set(kept[forms[0]]["positive"][:]))
        drawn = [answers[number] for number in rng.permutation(len(answers))[:DISTRACTORS]]
        beside = [text for column in test.column_names if column.startswith("negative") for text in test[column][:]]
        corpus |= {f"{language} {text}": text for text in [*sorted({*passages, *beside}), *drawn]}
        for row in test.select(rng.permutation(len(test))[:QUESTIONS].tolist()):
            queries[f"{language} {row['id']}"] = row["query"]
            relevant[f"{language} {row['id']}"] = [f"{language} {row['positive']}"]
    languages = {key: key[:2] for key in (*queries, *corpus)}
    collection = RetrievalCollection.from_dicts(queries, corpus, relevant, languages, languages, name="questions")
    return kept, collection


def help_collection(rows: Dataset) -> RetrievalCollection:
    """Help pages in all their languages."""
    ids, counts = np.unique(rows["id"][:], return_counts=True)
    whole = ids[counts >= counts.max() - 1]
    drawn = np.random.default_rng(0).permutation(whole)[:HELP_GROUPS]
    chosen = rows.select(np.flatnonzero(np.isin(rows["id"][:], drawn)))
    return RetrievalCollection.from_rows(chosen, name="help")


def score(model: SentenceTransformer, collections: list[RetrievalCollection]) -> dict[str, dict[str, float]]:
    """The scores on each collection, with vectors computed in bfloat16."""
    found = {}
    for collection in collections:
        with torch.autocast("cpu", torch.bfloat16):
            vectors = encode_collection(model, collection)
        summary = score_queries(*vectors, collection).summary()
        scores = {name: round(one.map, 4) for name, one in summary.by_setting.items()}
        found[collection.name] = {**scores, "rank_distance": round(summary.rank_distance or 0, 1)}
    return found


def search(given: argparse.Namespace) -> None:
    """Train the candidates that the work folder lacks, and compare all."""
    hard = {
        f"{language} {name}{BESIDE}": read_squad({language: given.data_dir / "qa" / file}, negatives=1).rows
        for language, name, file, positive in QUESTION_SETS
        if positive == "sentence"
    }
    sets, questions = split_questions({**read_rows(given.data_dir), **hard})
    collections = [questions, help_collection(open_rows(given.data_dir / "help-parallel.jsonl.gz").rows)]
    given.work.mkdir(parents=True, exist_ok=True)
    known = given.work / "held-out.json"
    scores: dict[str, Any] = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else {}
    start = SentenceTransformer(str(given.start), device="cpu")
    if "start" not in scores:
        scores["start"] = score(start, collections)
    for name in given.only or CANDIDATES:
        candidate, folder = CANDIDATES[name], given.work / f"{name}, seed {given.seed}"
        recipe = Recipe(**COMMON, **candidate.recipe, seed=given.seed)
        begin = given.start if candidate.start is None else given.work / f"{candidate.start}, seed {given.seed}"
        finetune(begin, {one: sets[one] for one in candidate.sets}, folder, recipe, resume=True)
        for share in (0.0, *given.merge):
            key = f"{name}, seed {given.seed}" + (f", merged {share:g}" if share else "")
            if key not in scores:
                model = SentenceTransformer(str(folder), device="cpu")
                model.load_state_dict(merged_weights(start, model, share))
                scores[key] = score(model, collections)
                write_json(known, scores)
                print(key, scores[key], flush=True)
    candidates = {name: asdict(candidate) for name, candidate in CANDIDATES.items()}
    write_json(given.output, {**provenance(), "common": COMMON, "candidates": candidates, "held_out": scores})
    show(scores)


def show(scores: dict[str, Any]) -> None:
    """Print the scores on held-out data."""
    table = Table("candidate", "questions Mo.", "help Mo.", "help Cr.", "help Mul.", "help rank distance")
    for name, of in scores.items():
        own = of["help"]
        cells = [of["questions"]["monolingual"], *(own[kind] for kind in SETTINGS)]
        table.add_row(name, *(f"{cell:.3f}" for cell in cells), f"{own['rank_distance']:,.0f}")
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="encoder to train")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for the models and their scores")
    parser.add_argument("--only", nargs="+", choices=[*CANDIDATES], help="candidates to train (all by default)")
    parser.add_argument("--merge", nargs="+", type=float, default=[0.3], help="shares of the start to try")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file of the search")
    given = parser.parse_args()
    search(given)


if __name__ == "__main__":
    main()
