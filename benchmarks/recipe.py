"""Search for the recipe that brings an encoder furthest, on data that are not evaluated, and measure it once.

    python benchmarks/recipe.py --start MODEL --data-dir DIR --work DIR --only "NAME" --only "NAME"
    python benchmarks/recipe.py --start MODEL --data-dir DIR --work DIR --final

``--data-dir`` holds ``xquad-r``, ``qa``, ``bitext`` and ``help-parallel.jsonl.gz``. Candidates are trained on the rows
of ``recipe_data.py``. They are compared on the last tenth of each set of questions and on help pages, of which none is
in the training. A candidate's score is the mean of four mAP: of the questions, and Mo., Cr. and Mul. of the help pages;
one that loses mAP on the questions against the start is out. ``--final`` takes the best of those in the work folder,
trains the seeds that it lacks, and measures them on XQuAD-R. Start several processes with other names of candidates to
train side by side. A run that was killed continues where it stopped.
"""

import argparse
import json
import shlex
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, load_from_disk
from recipe_data import QUESTION_SETS, read_sets
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer

from st_hybrid.benchmark import evaluate_tasks
from st_hybrid.data import open_rows, read_squad
from st_hybrid.dtypes import training_dtype
from st_hybrid.encoders import compute_in
from st_hybrid.evaluation import SETTINGS, RetrievalCollection, encode_collection, score_queries
from st_hybrid.files import replacing, write_json
from st_hybrid.methods.merging import merged_weights
from st_hybrid.provenance import provenance
from st_hybrid.recipe import Recipe
from st_hybrid.training import finetune

RESULTS = Path(__file__).parent / "results"
HELD_OUT = 0.1  # of each set of questions
QUESTIONS, DISTRACTORS, HELP_GROUPS = 150, 1200, 120
QUERY, DOCUMENT = "query: ", "passage: "
NATIVE = tuple(f"{language} {name}" for language, name, *_ in QUESTION_SETS)
SAMPLED = (*NATIVE, "ntrex", "software")
ALL = (*NATIVE, "ntrex", "all software")
COMMON: dict[str, Any] = {
    "batch_size": 128,
    "learning_rate": 1e-4,
    "scale": 100,
    "max_length": 80,
    "freeze_embeddings": True,
    "query_prompt": QUERY,
    "document_prompt": DOCUMENT,
}
HARD: dict[str, Any] = {"alpha": 0.4, "same_document": True, "anchor": "en", "anchor_weight": 25.0, "max_steps": 600}


@dataclass(frozen=True)
class Candidate:
    """A training: its sets, how its recipe differs, and the candidate that it starts from."""

    recipe: dict[str, Any] = field(default_factory=dict)
    sets: tuple[str, ...] = SAMPLED
    start: str | None = None


CANDIDATES = {
    "plain hybrid": Candidate({"alpha": 0.4, "max_steps": 600}),
    "hard": Candidate(HARD),
    "weight 5": Candidate({**HARD, "anchor_weight": 5.0}),
    "weight 10": Candidate({**HARD, "anchor_weight": 10.0}),
    "weight 100": Candidate({**HARD, "anchor_weight": 100.0}),
    "alpha .2": Candidate({**HARD, "alpha": 0.2}),
    "alpha .6": Candidate({**HARD, "alpha": 0.6}),
    "random candidates": Candidate({**HARD, "same_document": False}),
    "learning rate 5e-5": Candidate({**HARD, "learning_rate": 5e-5}),
    "learning rate 3e-4": Candidate({**HARD, "learning_rate": 3e-4}),
    "embeddings too": Candidate({**HARD, "freeze_embeddings": False}),
    "batch 48": Candidate({**HARD, "batch_size": 48}),
    "all messages": Candidate(HARD, ALL),
    "all messages, 1,500 steps": Candidate({**HARD, "max_steps": 1500}, ALL),
    "all messages, 1,500 steps, embeddings too": Candidate(
        {**HARD, "max_steps": 1500, "freeze_embeddings": False}, ALL
    ),
    "questions alone": Candidate({"sampler": "x-x-mono", "max_steps": 120, "learning_rate": 5e-5}, NATIVE),
    "two stages": Candidate(HARD, start="questions alone"),
    "two stages, all messages, 1,500 steps": Candidate({**HARD, "max_steps": 1500}, ALL, "questions alone"),
}


def sets_of(given: argparse.Namespace) -> dict[str, Dataset]:
    """The sets to train on, kept in the work folder."""
    folder = given.work / "sets"
    if not folder.is_dir():
        found = read_sets(given.data_dir, messages=None)
        sampled = read_sets(given.data_dir)
        with replacing(folder) as temporary:
            DatasetDict({**sampled, "all software": found["software"]}).save_to_disk(temporary)
    return dict(load_from_disk(folder))


def split_questions(sets: dict[str, Dataset], folder: Path) -> tuple[dict[str, Dataset], RetrievalCollection]:
    """The sets without the last tenth of their questions, and a collection of these.

    Its pool holds their answers, the sentences beside these, and other answers of the set.
    """
    kept = dict(sets)
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    relevant: dict[str, list[str]] = {}
    for language, name, file, positive in QUESTION_SETS:
        rows, rng = sets[f"{language} {name}"], np.random.default_rng(0)
        test = rows.select(range(round(len(rows) * (1 - HELD_OUT)), len(rows)))
        ids, passages = set(test["id"][:]), set(test["positive"][:])
        texts = zip(rows["id"][:], rows["positive"][:], strict=True)
        kept[f"{language} {name}"] = rows.select(
            np.flatnonzero([id_ not in ids and text not in passages for id_, text in texts])
        )
        beside: set[str] = set()
        if positive == "sentence":
            hard = read_squad({language: folder / "qa" / file}, negatives=1).rows
            beside = {row["negative_1"] for row in hard if row["id"] in ids}
        answers = sorted(set(kept[f"{language} {name}"]["positive"][:]))
        drawn = [answers[number] for number in rng.permutation(len(answers))[:DISTRACTORS]]
        corpus |= {f"{language} {text}": text for text in [*sorted({*passages, *beside}), *drawn]}
        for row in test.select(rng.permutation(len(test))[:QUESTIONS].tolist()):
            queries[f"{language} {row['id']}"] = row["query"]
            relevant[f"{language} {row['id']}"] = [f"{language} {row['positive']}"]
    languages = {key: key[:2] for key in (*queries, *corpus)}
    return kept, RetrievalCollection.from_dicts(queries, corpus, relevant, languages, languages, name="questions")


def help_collection(rows: Dataset) -> RetrievalCollection:
    """Help pages in all their languages."""
    ids, counts = np.unique(rows["id"][:], return_counts=True)
    whole = ids[counts >= counts.max() - 1]
    drawn = np.random.default_rng(0).permutation(whole)[:HELP_GROUPS]
    chosen = rows.select(np.flatnonzero(np.isin(rows["id"][:], drawn)))
    return RetrievalCollection.from_rows(chosen, name="help")


def score(model: SentenceTransformer, collections: list[RetrievalCollection]) -> dict[str, float]:
    """The scores on held-out data, and their mean."""
    compute_in(model, training_dtype(model.device.type))
    found = {}
    for collection in collections:
        vectors = encode_collection(model, collection, batch_size=64, query_prompt=QUERY, document_prompt=DOCUMENT)
        summary = score_queries(*vectors, collection).summary()
        found[collection.name] = {name: one.map for name, one in summary.by_setting.items()}
        found[collection.name]["rank_distance"] = summary.rank_distance or 0
    scores = {"questions": found["questions"]["monolingual"], **{kind: found["help"][kind] for kind in SETTINGS}}
    rounded = {name: round(value, 4) for name, value in scores.items()}
    mean = round(sum(scores.values()) / len(scores), 4)
    return {**rounded, "rank_distance": round(found["help"]["rank_distance"], 1), "mean": mean}


def train(name: str, seed: int, sets: dict[str, Dataset], given: argparse.Namespace) -> Path:
    """Train a candidate, or go on with it; return its folder."""
    candidate, folder = CANDIDATES[name], given.work / f"{name}, seed {seed}"
    start = given.start if candidate.start is None else train(candidate.start, seed, sets, given)
    recipe = Recipe(**{**COMMON, **candidate.recipe}, seed=seed, save_steps=candidate.recipe["max_steps"] // 2)
    finetune(start, {one: sets[one] for one in candidate.sets}, folder, recipe, resume=True)
    return folder


def merged(folder: Path, share: float, given: argparse.Namespace) -> SentenceTransformer:
    """A trained model with a share of the start's weights."""
    model = SentenceTransformer(str(folder))
    if share:
        start = SentenceTransformer(str(given.start), device="cpu")
        model.load_state_dict(merged_weights(start, model, share))
    return model


def search(names: list[str], given: argparse.Namespace) -> None:
    """Train candidates, and score what the work folder has no scores of."""
    sets, questions = split_questions(sets_of(given), given.data_dir)
    collections = [questions, help_collection(open_rows(given.data_dir / "help-parallel.jsonl.gz").rows)]
    known = given.work / "start.json"
    if not known.is_file():
        write_json(known, {"start": score(SentenceTransformer(str(given.start)), collections)})
    for name in names:
        known = given.work / f"{name}, seed 0.json"
        if not known.is_file():
            folder = train(name, 0, sets, given)
            found = {}
            for share in (0.0, *given.merge):
                key = f"{name}, merged {share:g}" if share else name
                found[key] = score(merged(folder, share, given), collections)
                print(key, found[key], flush=True)
            write_json(known, found)


def found_so_far(given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The scores of the start and of all candidates in the work folder, the best first."""
    files = [given.work / "start.json", *sorted(given.work.glob("*, seed 0.json"))]
    scores = {key: one for file in files for key, one in json.loads(file.read_text(encoding="utf-8")).items()}
    return dict(sorted(scores.items(), key=lambda entry: -entry[1]["mean"]))


def final(given: argparse.Namespace) -> None:
    """Train the best candidate with every seed, and measure these models on XQuAD-R, whole."""
    scores = found_so_far(given)
    chosen = next(key for key, one in scores.items() if one["questions"] >= scores["start"]["questions"])
    name, _, share = chosen.partition(", merged ")
    sets, _ = split_questions(sets_of(given), given.data_dir)
    for seed in given.seeds:
        output = given.work / f"xquad-r-{seed}.json"
        if not output.is_file():
            model = merged(train(name, seed, sets, given), float(share or 0), given)
            compute_in(model, training_dtype(model.device.type))
            evaluate_tasks(
                model, ["XQuAD-R"], given.data_dir, output, model_name=f"{chosen}, seed {seed}", centers=["evaluated"],
                query_prompt=QUERY, document_prompt=DOCUMENT, batch_size=64, show_progress_bar=False,
            )  # fmt: skip
    write_json(given.work / "chosen.json", {"chosen": chosen, "candidate": asdict(CANDIDATES[name])})


def record(given: argparse.Namespace) -> None:
    """Print the search, and write it and what was chosen to the results."""
    scores = found_so_far(given)
    table = Table("candidate", "questions", "help Mo.", "help Cr.", "help Mul.", "rank distance", "mean")
    for name, one in scores.items():
        cells = [one["questions"], *(one[kind] for kind in SETTINGS)]
        table.add_row(name, *(f"{cell:.3f}" for cell in cells), f"{one['rank_distance']:,.0f}", f"{one['mean']:.4f}")
    Console(width=140).print(table)
    candidates = {name: asdict(one) for name, one in CANDIDATES.items() if name in scores}
    found: dict[str, Any] = {"common": COMMON, "candidates": candidates, "held_out": scores}
    if (chosen := given.work / "chosen.json").is_file():
        found |= json.loads(chosen.read_text(encoding="utf-8"))
    for file in sorted(given.work.glob("xquad-r-?.json")):
        scores = json.loads(file.read_text(encoding="utf-8"))["tasks"]["XQuAD-R"]
        variants = {"plain": scores, "centered": scores["centered"]["evaluated"]}
        found[file.stem] = {name: _without_pairs(one) for name, one in variants.items()}
    write_json(given.output, {**provenance(), "command": shlex.join(sys.argv), **found})


def _without_pairs(scores: dict[str, Any]) -> dict[str, Any]:
    return {name: scores[name] for name in (*SETTINGS, "rank_distance")}


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="encoder to train")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for the models and their scores")
    parser.add_argument("--only", action="append", choices=[*CANDIDATES], help="a candidate; repeat it for more")
    parser.add_argument("--merge", nargs="+", type=float, default=[0.3, 0.5], help="shares of the start to try")
    parser.add_argument("--final", action="store_true", help="measure the best candidate instead")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds to measure")
    parser.add_argument("--output", type=Path, default=RESULTS / "recipe.json", help="JSON file of the results")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    final(given) if given.final else search(given.only or [*CANDIDATES], given)
    record(given)


if __name__ == "__main__":
    main()
