"""A page to look at what two models find."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from st_hybrid.benchmark.scores_file import MIRACL, read_scores, short_names
from st_hybrid.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

Key = tuple[str, str]
"""Id and language of a question."""

_TEMPLATE = Path(__file__).with_name("browse.html")


def write_browse_page(
    a: str | Path,
    b: str | Path,
    output: str | Path,
    *,
    task: str | None = None,
    variants: tuple[str, str] = ("plain", "plain"),
    sample: int | None = 2000,
    seed: int = 0,
) -> int:
    """Write a page in which a person compares what two models find in the pool of all languages.

    It shows each question, and side by side the first ten passages of each model. Passages are coloured by language,
    and right answers are marked. Questions can be filtered by language and words, and ordered by the difference of
    their average precision. The page is one HTML file that needs no server and no network.

    Args:
        a: File of scores of the first model, as ``st-hybrid evaluate`` wrote it.
        b: That of the second; or the first again, to compare two variants.
        output: HTML file to write.
        task: Task or data to show. By default the only one that both files hold.
        variants: Variant of each: ``plain``, or ``centered: evaluated`` and the like.
        sample: Number of questions to draw, if there are more. 2,000 of them take about 3 MB.
        seed: Seed of the draw.

    Returns:
        The number of questions in the page.

    Raises:
        FileNotFoundError: A file is missing; the message says how to get it.
        ValueError: The files do not hold the same questions, or not the task or variant.

    Example:
        ::

            from st_hybrid.benchmark import write_browse_page

            write_browse_page("plain.json", "hybrid.json", "browse.html")
    """
    import numpy as np

    from st_hybrid.languages import english_name

    for path in (a, b):
        _check_beside(Path(path))
    (model_a, tasks_a), (model_b, tasks_b) = read_scores(a), read_scores(b)
    common = [one for one in tasks_a if one in tasks_b and one != MIRACL]  # MIRACL has no pool of all languages
    if task is None and len(common) == 1:
        task = common[0]
    if task not in common:
        raise ValueError(f"Both files hold {', '.join(common) or 'no task with a pool of all languages'}. Name a task.")
    sides = [_read(Path(path), task, variant) for path, variant in zip((a, b), variants, strict=True)]
    questions = list(sides[0].precision)
    if sides[1].precision.keys() != set(questions):
        raise ValueError(f"{a} and {b} do not hold the same questions of {task}. Evaluate both on the same data.")
    total = len(questions)
    if sample is not None and sample < total:
        drawn = np.random.default_rng(seed).permutation(total)[:sample]
        questions = [questions[number] for number in np.sort(drawn)]

    texts: dict[Key, str] = {}
    passages: dict[str, tuple[int, str, str]] = {}  # number, language and text by id
    found: list[dict[Key, list[tuple[int, int, int]]]] = [defaultdict(list), defaultdict(list)]
    for side, of_side in zip(sides, found, strict=True):
        for row in side.passages_of(questions).to_pylist():
            key = row["query_id"], row["query_language"]
            texts[key] = row["query"]
            new = len(passages), row["passage_language"], row["passage"]
            number, *_ = passages.setdefault(row["passage_id"], new)
            of_side[key].append((number, row["rank"], int(row["relevant"])))
    languages = sorted({code for _, code in questions} | {code for _, code, _ in passages.values()})
    number_of = {code: number for number, code in enumerate(languages)}
    short = zip(short_names([model_a, model_b]), variants, strict=True)
    names = [name if variant == "plain" else f"{name}, {variant}" for name, variant in short]
    content = {
        "task": task,
        "models": names,
        "about": f"{len(questions):,} questions" + (f", drawn from {total:,}." if len(questions) < total else "."),
        "languages": languages,
        "names": [english_name(code) or code for code in languages],
        "passages": [(number_of[code], text) for _, code, text in passages.values()],
        "questions": [
            {
                "language": number_of[key[1]],
                "text": texts[key],
                "found": [
                    (round(side.precision[key], 4), of_side[key]) for side, of_side in zip(sides, found, strict=True)
                ],
            }
            for key in questions
        ],
    }
    # The page puts all text in as text. Here nothing may end the element that holds the data.
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&":
        data = data.replace(character, f"\\u{ord(character):04x}")
    with replacing(output) as path:
        path.write_text(_TEMPLATE.read_text(encoding="utf-8").replace("$data", data), encoding="utf-8")
    return len(questions)


class _Side(NamedTuple):
    """What one model found: the average precision of each question, and the passages."""

    precision: dict[Key, float]
    passages: pa.Table

    def passages_of(self, questions: Sequence[Key]) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc

        keys = pc.binary_join_element_wise(
            *(self.passages[name].cast(pa.string()) for name in ("query_id", "query_language")), "\n"
        )
        return self.passages.filter(pc.is_in(keys, pa.array(["\n".join(question) for question in questions])))


def _check_beside(path: Path) -> None:
    """Runs that were recorded before, or whose files were moved apart, do not say what queries found."""
    from st_hybrid.evaluation.per_query import first_passages_path, per_query_path

    for beside in (first_passages_path(path), per_query_path(path)):
        if path.is_file() and not beside.is_file():
            raise FileNotFoundError(
                f"{path} lacks {beside.name} beside it, which says what queries found. Evaluate the model again: "
                "st-hybrid evaluate --model MODEL --output NEW.json."
            )


def _read(path: Path, task: str, variant: str) -> _Side:
    import pyarrow.compute as pc

    from st_hybrid.evaluation.per_query import FIRST_PASSAGES_KEYS, first_passages_path, per_query_path, read_per_query
    from st_hybrid.evaluation.results import MULTI

    of_variant = (pc.field("task") == task) & (pc.field("variant") == variant)
    passages = read_per_query(first_passages_path(path), FIRST_PASSAGES_KEYS).filter(of_variant)
    if not passages.num_rows:
        raise ValueError(f"{path} has no variant {variant!r} of {task}.")
    scores = read_per_query(per_query_path(path)).filter(of_variant & (pc.field("pool") == MULTI))
    keys = zip(scores["query_id"].to_pylist(), scores["query_language"].to_pylist(), strict=True)
    return _Side(dict(zip(keys, scores["map"].to_pylist(), strict=True)), passages)
