"""A report on parallel rows: whether they are what their columns say, and what would harm training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from numpy.typing import NDArray
from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress import Progress
from rich.table import Table

from st_hybrid.data.letters import letters
from st_hybrid.data.near_duplicates import near_duplicates
from st_hybrid.languages import LanguageDetector
from st_hybrid.pairs import pair_text, parallel_pairs
from st_hybrid.provenance import provenance

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Ints = NDArray[np.int64]

_EXAMPLES = 10
_EXCERPT = 120


@dataclass(frozen=True)
class Limits:
    """How much of each trouble is no trouble yet, each as a share.

    Args:
        empty: Of the rows, those with an empty or missing text.
        repeated: Of the rows, those whose id has a row in that language before; training refuses them.
        duplicates: Of the rows, those with language, query and positive of an earlier row.
        wrong_language: Of the texts looked at of any one language, those that are surely in another.
        untranslated: Of the rows of any one language, those whose positive is also another language's in the group.
        near_duplicates: Of the passages, those with a near-duplicate in another passage cluster.
    """

    empty: float = 0.0
    repeated: float = 0.0
    duplicates: float = 0.01
    wrong_language: float = 0.01
    untranslated: float = 0.05
    near_duplicates: float = 1.0


@dataclass
class RowsReport:
    """What :func:`check_rows` found; print it with rich.

    Args:
        rows: Rows.
        groups: Distinct ids.
        languages: For each language its ``rows``, what of them is ``empty``, ``repeated``, ``duplicates`` and
            ``untranslated``, the ``texts_looked_at`` and how many are in the ``wrong_language`` with what was
            ``detected``, and lengths as median, 95th percentile and maximum: ``query_characters``,
            ``positive_characters`` and with a model ``positive_tokens`` and ``too_long``.
        groups_by_languages: How many groups have so many languages.
        clusters: ``count``, ``largest`` (rows), and ``by_groups``: how many clusters have so many groups.
        near_duplicates: ``passages``, how many are ``affected``, and the ``threshold``; empty if not looked for.
        examples: Rows of each trouble.
        undetectable: Languages that the detector does not know.
        method: Thresholds and samples.
        problems: What is beyond the limits, in words; empty if the rows are fine.
    """

    rows: int
    groups: int
    languages: dict[str, dict[str, Any]]
    groups_by_languages: dict[int, int]
    clusters: dict[str, Any]
    near_duplicates: dict[str, Any]
    examples: dict[str, list[dict[str, Any]]]
    undetectable: list[str] = field(default_factory=list)
    method: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def total(self, trouble: str) -> int:
        """Rows with a trouble, over all languages."""
        return sum(about[trouble] for about in self.languages.values())

    def write(self, path: str | Path, data: str | Path) -> None:
        """Write the report as JSON, with the name of the data and what made it."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        told = {"data": Path(data).name, **asdict(self), **provenance()}
        path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(
            title=f"{self.rows:,} rows in {self.groups:,} groups, {len(self.languages)} languages, "
            f"{self.clusters['count']:,} passage clusters",
            caption="wrong: surely in another language, of the texts looked at. same: positive stands in another "
            "language of the group, too. characters: median, 95th percentile.",
        )
        tokens = any("positive_tokens" in about for about in self.languages.values())
        headers = ["", "rows", "empty", "twice", "wrong", "same", "query\ncharacters", "positive\ncharacters"]
        for header in [*headers, *(["positive\ntokens", "too long"] if tokens else [])]:
            table.add_column(header, justify="right" if header else "left")
        for code, about in self.languages.items():
            wrong = f"{about['wrong_language']:,}/{about['texts_looked_at']:,}" if "texts_looked_at" in about else ""
            cells = [f"{about['rows']:,}", f"{about['empty']:,}", f"{about['repeated'] + about['duplicates']:,}", wrong]
            cells += [f"{about['untranslated']:,}"]
            cells += ["{:,} {:,}".format(*about[f"{column}_characters"][:2]) for column in ("query", "positive")]
            if tokens:
                cells += ["{:,} {:,}".format(*about["positive_tokens"][:2]), f"{about['too_long']:.1%}"]
            table.add_row(code, *cells)
        yield table
        sizes = ", ".join(f"{groups:,} in {number}" for number, groups in self.groups_by_languages.items())
        yield f"Groups by number of languages: {sizes}. Largest passage cluster: {self.clusters['largest']:,} rows."
        if self.near_duplicates:
            yield (
                f"Near-duplicate passages in different clusters: {self.near_duplicates['affected']:,} of "
                f"{self.near_duplicates['passages']:,}."
            )
        if self.undetectable:
            yield f"Languages that cannot be detected: {', '.join(self.undetectable)}."
        for problem in self.problems:
            yield f"[bold red]{problem}[/]"
        if not self.problems:
            yield "[green]Nothing beyond the limits.[/]"


def check_rows(
    rows: Dataset,
    limits: Limits | None = None,
    *,
    id_column: str = "id",
    language_column: str = "language",
    query_column: str = "query",
    positive_column: str = "positive",
    detect: bool = True,
    every_language: bool = False,
    confidence: float = 0.9,
    min_letters: int = 40,
    sample: int | None = 2000,
    near_duplicate_threshold: float | None = 0.8,
    model: SentenceTransformer | None = None,
    seed: int = 0,
    show_progress_bar: bool = False,
) -> RowsReport:
    """Look parallel rows over before training on them.

    Rows that :func:`~st_hybrid.parallel_pairs` would refuse are counted, not refused.

    Args:
        rows: Parallel rows.
        limits: From when on something is a problem.
        id_column: As for :func:`~st_hybrid.parallel_pairs`.
        language_column: As for :func:`~st_hybrid.parallel_pairs`.
        query_column: As for :func:`~st_hybrid.parallel_pairs`.
        positive_column: As for :func:`~st_hybrid.parallel_pairs`.
        detect: Detect the language of texts, see :class:`~st_hybrid.languages.LanguageDetector`.
        every_language: Consider all languages that the detector knows, not only those of the rows.
        confidence: A text is in the wrong language if another has at least this probability. Among the languages of
            the rows 0.9 gave no false alarm in 2,000 paragraphs; among all languages probabilities spread.
        min_letters: Shorter texts are not looked at, as the detector is unsure of them.
        sample: Look at so many rows of each language, drawn at random; all if ``None``. Also for tokens.
        near_duplicate_threshold: Jaccard similarity from which on passages are near-duplicates; ``None`` not to look.
        model: Count its tokens, and the positives that are longer than it takes.
        seed: Seed of the sample.
        show_progress_bar: Show how far the detection has come.

    Returns:
        The report.

    Raises:
        ValueError: There are no rows, or a column is missing or holds no text.
        ModuleNotFoundError: What ``detect`` or near-duplicates need is not installed: ``st-hybrid[check]``.

    Example:
        ::

            from rich import print
            from st_hybrid.data import open_rows
            from st_hybrid.data.check import check_rows

            print(check_rows(open_rows("rows.jsonl").rows))
    """
    limits = limits or Limits()
    names = {"id": id_column, "language": language_column, "query": query_column, "positive": positive_column}
    table = _columns(rows, names)
    group, language = (_numbers(table[name]) for name in ("id", "language"))
    codes = table["language"].unique().to_pylist()
    empty = np.zeros(len(table), dtype=bool)
    for name in ("query", "positive", "language", "id"):
        empty |= pc.equal(pc.utf8_trim_whitespace(table[name]), "").to_numpy()
    repeated = _came_before(group, language) & ~empty
    query, positive = (_numbers(table[name]) for name in ("query", "positive"))
    duplicates = _came_before(language, query, positive) & ~empty & ~repeated
    # The first row of each (group, positive) has the text first; where another language has it, neither is translated.
    order = np.lexsort((language, positive, group))
    same = (np.diff(group[order]) == 0) & (np.diff(positive[order]) == 0) & (np.diff(language[order]) != 0)
    untranslated = np.zeros(len(table), dtype=bool)
    untranslated[order[1:][same]] = untranslated[order[:-1][same]] = True
    untranslated &= ~empty
    troubles = {"empty": empty, "repeated": repeated, "duplicates": duplicates, "untranslated": untranslated}

    lengths = {name: pc.utf8_length(table[name]).to_numpy() for name in ("query", "positive")}
    about: dict[str, dict[str, Any]] = {}
    for number in sorted(range(len(codes)), key=lambda one: codes[one]):
        mine = language == number
        about[codes[number]] = {
            "rows": int(mine.sum()),
            **{name: int((mine & trouble).sum()) for name, trouble in troubles.items()},
            **{f"{name}_characters": _spread(values[mine]) for name, values in lengths.items()},
        }
    examples = {name: _examples(table, np.flatnonzero(trouble)) for name, trouble in troubles.items()}
    sound = np.flatnonzero(~(empty | repeated))
    looked_at = _sample(sound, language[sound], sample, seed)
    undetectable: list[str] = []
    if detect:
        undetectable = _detect(
            table, looked_at, about, examples, every_language, confidence, min_letters, show_progress_bar
        )
    if model is not None:
        _count_tokens(table["positive"], looked_at, language, codes, about, model)
    clusters, cluster = _clusters(rows.select(sound), names) if len(sound) else ({"count": 0, "largest": 0}, sound)
    near: dict[str, Any] = {}
    if near_duplicate_threshold is not None:
        near = _near(table, sound, cluster, near_duplicate_threshold, examples)
    in_group = np.unique(np.stack([group, language]), axis=1)[0]
    sizes, counts = np.unique(np.bincount(in_group), return_counts=True)
    report = RowsReport(
        rows=len(table),
        groups=int(group.max()) + 1,
        languages=about,
        groups_by_languages=dict(zip(sizes.tolist(), counts.tolist(), strict=True)),
        clusters=clusters,
        near_duplicates=near,
        examples={name: shown for name, shown in examples.items() if shown},
        undetectable=undetectable,
        method={
            "languages_considered": ("all" if every_language else "those of the rows and English")
            if detect
            else "none",
            "confidence": confidence,
            "min_letters": min_letters,
            "rows_looked_at_of_each_language": sample,
            "near_duplicate_threshold": near_duplicate_threshold,
            "seed": seed,
            "limits": asdict(limits),
        },
    )
    report.problems = _problems(report, limits)
    return report


def _columns(rows: Dataset, names: Mapping[str, str]) -> pa.Table:
    if missing := [name for name in names.values() if name not in rows.column_names]:
        raise ValueError(
            f"The rows have no column {', '.join(map(repr, missing))}; their columns are "
            f"{', '.join(map(repr, rows.column_names))}. Rename a column, or name yours."
        )
    if not len(rows):
        raise ValueError("There are no rows.")
    table = rows.with_format("arrow").select_columns(list(names.values()))[:]
    columns = {}
    for role, name in names.items():
        column = table[name]
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)) and role != "id":
            raise ValueError(f"Column {name!r} holds {column.type}, not text. Cast it with rows.cast_column.")
        columns[role] = pc.fill_null(column.cast(pa.large_string()), "").combine_chunks()
    return pa.table(columns)


def _numbers(column: pa.ChunkedArray) -> Ints:
    return column.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)


def _came_before(*keys: Ints) -> NDArray[np.bool_]:
    """For each row, whether an earlier one has the same keys."""
    order = np.lexsort(keys[::-1])  # stable, so the first comes first
    again = np.ones(len(order), dtype=bool)
    again[0] = False
    for key in keys:
        again[1:] &= np.diff(key[order]) == 0
    before = np.zeros(len(order), dtype=bool)
    before[order] = again
    return before


def _spread(lengths: Ints) -> list[int]:
    return [round(float(value)) for value in (*np.percentile(lengths, [50, 95]), lengths.max())]


def _examples(table: pa.Table, rows: Ints, column: str = "positive") -> list[dict[str, Any]]:
    rows = rows[:_EXAMPLES]
    shown = pc.utf8_slice_codeunits(table[column].take(rows), 0, _EXCERPT).to_pylist()
    spoken, ids = table["language"].take(rows).to_pylist(), table["id"].take(rows).to_pylist()
    return [
        {"row": row, "id": one, "language": code, column: text}
        for row, one, code, text in zip(rows.tolist(), ids, spoken, shown, strict=True)
    ]


def _sample(rows: Ints, language: Ints, size: int | None, seed: int) -> Ints:
    if size is None:
        return rows
    drawn = np.random.default_rng(seed).permutation(len(rows))
    order = drawn[np.argsort(language[drawn], kind="stable")]
    counts = np.bincount(language)
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(rows[order[place < size]])


def _detect(
    table: pa.Table,
    rows: Ints,
    about: dict[str, dict[str, Any]],
    examples: dict[str, list[dict[str, Any]]],
    every: bool,
    confidence: float,
    min_letters: int,
    show_progress_bar: bool,
) -> list[str]:
    """Add what is in the wrong language to the report, and give the languages that cannot be detected."""
    detector = LanguageDetector(None if every else about, other_above=confidence)
    detectable = [code for code in about if detector.knows(code)]
    known = np.isin(table["language"].take(rows).to_numpy(zero_copy_only=False).astype(str), detectable)
    rows = rows[known]
    for code in detectable:
        about[code] |= {"texts_looked_at": 0, "wrong_language": 0, "detected": {}}
    examples["wrong_language"] = []
    with Progress(console=Console(stderr=True), disable=not show_progress_bar) as progress:
        for column in ("query", "positive"):
            texts = table[column].take(rows)
            long = np.flatnonzero(letters(texts).lengths >= min_letters)
            task = progress.add_task(f"Languages of {column}", total=len(long))
            spoken = np.array(table["language"].take(rows[long]).to_pylist())
            given = np.array(texts.take(long).to_pylist(), dtype=object)
            other = np.zeros(len(long), dtype=bool)
            for code in detectable:
                mine = spoken == code
                about[code]["texts_looked_at"] += int(mine.sum())
                other[mine] = detector.other(given[mine].tolist(), code)
                progress.advance(task, int(mine.sum()))
            wrong = np.flatnonzero(other)
            languages, confidences = detector.detect(given[wrong].tolist())
            for code, detected in zip(spoken[wrong].tolist(), languages, strict=True):
                about[code]["wrong_language"] += 1
                counts = about[code]["detected"]
                counts[detected] = counts.get(detected, 0) + 1
            shown = _examples(table, rows[long[wrong[:_EXAMPLES]]], column)
            for example, detected, sure in zip(shown, languages, confidences, strict=False):
                example |= {"detected": detected, "confidence": round(float(sure), 3)}
            examples["wrong_language"] += shown
    return sorted(set(about) - set(detectable))


def _count_tokens(
    texts: pa.ChunkedArray,
    rows: Ints,
    language: Ints,
    codes: list[str],
    about: dict[str, dict[str, Any]],
    model: SentenceTransformer,
) -> None:
    tokens = model.tokenizer(texts.take(rows).to_pylist(), truncation=False, return_attention_mask=False)["input_ids"]
    counts = np.fromiter(map(len, tokens), dtype=np.int64, count=len(rows))
    limit = model.max_seq_length or np.inf
    for number, code in enumerate(codes):
        mine = counts[language[rows] == number]
        if len(mine):
            about[code] |= {"positive_tokens": _spread(mine), "too_long": round(float((mine > limit).mean()), 4)}


def _clusters(rows: Dataset, names: Mapping[str, str]) -> tuple[dict[str, Any], Ints]:
    columns: dict[str, Any] = {f"{role}_column": name for role, name in names.items()}
    keys = pair_text(parallel_pairs(rows, negative_columns=[], partners=1, **columns)).keys.with_format("numpy")[:]
    cluster = keys["cluster"].astype(np.int64)
    group = _numbers(_columns(rows, names)["id"])
    by_group = np.unique(np.stack([cluster, group]), axis=1)[0]
    sizes, counts = np.unique(np.bincount(by_group), return_counts=True)
    about = {
        "count": int(cluster.max()) + 1,
        "largest": int(np.bincount(cluster).max()),
        "by_groups": dict(zip(sizes.tolist(), counts.tolist(), strict=True)),
    }
    return about, cluster


def _near(
    table: pa.Table, rows: Ints, cluster: Ints, threshold: float, examples: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """Count near-duplicates in different clusters: one is no negative of the other, whatever the batch says."""
    encoded = table["positive"].take(rows).combine_chunks().dictionary_encode()
    passages = encoded.dictionary
    code = encoded.indices.to_numpy()
    _, first = np.unique(code, return_index=True)
    found = near_duplicates(letters(passages), threshold)
    apart = np.flatnonzero(cluster[first[found.first]] != cluster[first[found.second]])
    affected = np.unique(np.concatenate([found.first[apart], found.second[apart]]))
    chosen = apart[np.argsort(-found.similarity[apart], kind="stable")][:_EXAMPLES]
    examples["near_duplicates"] = [
        {
            **one,
            "other_row": other["row"],
            "other_positive": other["positive"],
            "similarity": round(float(found.similarity[place]), 3),
        }
        for one, other, place in zip(
            _examples(table, rows[first[found.first[chosen]]]),
            _examples(table, rows[first[found.second[chosen]]]),
            chosen.tolist(),
            strict=True,
        )
    ]
    return {"passages": len(passages), "affected": len(affected), "threshold": threshold}


def _problems(report: RowsReport, limits: Limits) -> list[str]:
    problems = []
    for trouble, said in (
        ("empty", "have an empty text"),
        ("repeated", "are a second row of their id and language"),
        ("duplicates", "repeat an earlier row"),
    ):
        limit = getattr(limits, trouble)
        if report.total(trouble) > limit * report.rows:
            problems.append(f"{report.total(trouble):,} of {report.rows:,} rows {said} (limit {limit:g}).")
    for code, about in report.languages.items():
        if about.get("wrong_language", 0) > limits.wrong_language * about.get("texts_looked_at", 0):
            likely = max(about["detected"], key=about["detected"].get)
            problems.append(
                f"{code}: {about['wrong_language']:,} of {about['texts_looked_at']:,} texts are in another language, "
                f"most of them in {likely} (limit {limits.wrong_language:g})."
            )
        if about["untranslated"] > limits.untranslated * about["rows"]:
            problems.append(
                f"{code}: {about['untranslated']:,} of {about['rows']:,} positives stand in another language of their "
                f"group as well (limit {limits.untranslated:g})."
            )
    if report.near_duplicates:
        affected, passages = report.near_duplicates["affected"], report.near_duplicates["passages"]
        if affected > limits.near_duplicates * passages:
            problems.append(
                f"{affected:,} of {passages:,} passages have a near-duplicate in another passage cluster (limit "
                f"{limits.near_duplicates:g})."
            )
    return problems
