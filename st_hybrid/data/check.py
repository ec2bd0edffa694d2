"""Check parallel rows before training: whether they are what their columns say, and what would harm training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from numpy.typing import NDArray

from st_hybrid.data.check_report import LanguageReport, Lengths, Limits, RowsReport
from st_hybrid.grouping import Ints, numbered, place_in_group
from st_hybrid.languages import LanguageDetector
from st_hybrid.normalized import near_duplicates, normalize
from st_hybrid.progress import progress_bar
from st_hybrid.rows import ROLES, ParallelRows, is_empty, read_columns, repeated_rows

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_EXAMPLES, _EXCERPT = 10, 120  # examples per finding, and characters of an example


def check_rows(
    rows: Dataset,
    limits: Limits | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    detect: bool = True,
    every_language: bool = False,
    confidence: float | None = None,
    min_letters: int | None = None,
    sample: int | None = 2000,
    near_duplicate_threshold: float | None = 0.8,
    model: SentenceTransformer | None = None,
    seed: int = 0,
    show_progress_bar: bool = False,
) -> RowsReport:
    """Check parallel rows before training on them. Rows that training would refuse are counted.

    Args:
        rows: Parallel rows.
        limits: How much of each finding is acceptable.
        columns: The rows' names of ``id``, ``language``, ``query`` and ``positive`` where they differ.
        detect: Detect the language of texts (:class:`~st_hybrid.languages.LanguageDetector`).
        every_language: Detect all languages, not only the rows' and widely written ones: slower and less certain.
        confidence: Probability from which a text counts as being in another language, in [0, 1] (0.9 by default).
        min_letters: Do not detect the language of texts with fewer letters (40 by default).
        sample: Number of rows per language to detect the language and count the tokens of; None for all rows.
        near_duplicate_threshold: Jaccard similarity from which passages are near-duplicates; None to skip the search.
        model: Count its tokens, and the positives that it truncates.
        seed: Seed of the sample.
        show_progress_bar: Show the progress of the language detection.

    Raises:
        ValueError: There are no rows, a column is missing or is not text, or an option has no effect.
        ModuleNotFoundError: An option needs a package that is not installed.

    Example:
        ::

            from rich import print
            from st_hybrid.data import check_rows, open_rows

            print(check_rows(open_rows("rows.jsonl", keep_invalid=True).rows))
    """
    limits = limits or Limits()
    if not detect and (every_language or confidence is not None or min_letters is not None):
        raise ValueError("every_language, confidence and min_letters have no effect with detect=False (--no-detect).")
    if not detect and limits.wrong_language != Limits.wrong_language:
        raise ValueError("The limit of wrong_language has no effect with detect=False (--no-detect).")
    if near_duplicate_threshold is None and limits.near_duplicates is not None:
        raise ValueError("The limit of near-duplicates has no effect without near_duplicate_threshold.")
    if detect:
        confidence = 0.9 if confidence is None else confidence
        min_letters = 40 if min_letters is None else min_letters
    options: dict[str, Any] = {"detect": detect, "every_language": every_language, "confidence": confidence}
    options |= {"min_letters": min_letters, "near_duplicate_threshold": near_duplicate_threshold}
    options |= {"sample": sample, "seed": seed, "limits": asdict(limits)}

    dataset, read = read_columns(rows, columns or {}, negative_columns=[])
    table = pa.table({role: pc.fill_null(read[role].cast(pa.large_string()), "") for role in ROLES})
    group, language, query, positive = (numbered(table[role])[0] for role in ROLES)
    codes = table["language"].unique().to_pylist()

    empty = np.logical_or.reduce([is_empty(table[role]) for role in ROLES])
    repeated = ~empty & np.isin(np.arange(len(empty)), repeated_rows(group, language, table))
    duplicates = ~(empty | repeated) & (place_in_group(_combined(language, query, positive)) > 0)
    in_group = _combined(group, positive)
    _, first = np.unique(_combined(in_group, language), return_index=True)
    untranslated = ~empty & (np.bincount(in_group[first])[in_group] > 1)

    findings = {"empty": empty, "repeated": repeated, "duplicates": duplicates, "untranslated": untranslated}
    examples = {name: _examples(table, np.flatnonzero(found)) for name, found in findings.items()}
    characters = {role: pc.utf8_length(table[role]).to_numpy() for role in ("query", "positive")}
    languages = {}
    for code in sorted(codes):
        here = language == codes.index(code)
        counts: dict[str, Any] = {name: int((here & found).sum()) for name, found in findings.items()}
        counts |= {f"{role}_characters": _lengths(lengths[here]) for role, lengths in characters.items()}
        languages[code] = LanguageReport(rows=int(here.sum()), **counts)

    valid = np.flatnonzero(~(empty | repeated))
    drawn = np.random.default_rng(seed).permutation(valid)
    sampled = valid if sample is None else np.sort(drawn[place_in_group(language[drawn]) < sample])
    undetectable: list[str] = []
    if detect:
        detector = LanguageDetector(None if every_language else codes, other_above=confidence or 0)
        undetectable = [code for code in languages if not detector.knows(code)]
        by_language = {code: sampled[language[sampled] == codes.index(code)] for code in languages}
        known = {code: part for code, part in by_language.items() if code not in undetectable}
        examples["wrong_language"] = _detect(table, known, detector, languages, min_letters or 0, show_progress_bar)
    if model is not None:
        _count_tokens(table.take(sampled), languages, model)
    cluster = ParallelRows(dataset.select(valid), negative_columns=[]).cluster if len(valid) else valid
    near = None
    if near_duplicate_threshold is not None:
        near, examples["near_duplicates"] = _near_duplicates(table, valid, cluster, near_duplicate_threshold)
    report = RowsReport(
        rows=len(table),
        groups=int(group.max()) + 1,
        groups_by_languages=_sizes(group, language),
        languages=languages,
        clusters=len(np.unique(cluster)),
        largest_cluster=int(np.bincount(cluster, minlength=1).max()),
        clusters_by_groups=_sizes(cluster, group[valid]),
        passages=len(np.unique(positive[valid])),
        near_duplicates=near,
        examples={name: shown for name, shown in examples.items() if shown},
        undetectable=undetectable,
        options=options,
    )
    report.problems = report.find_problems(limits)
    return report


def _combined(*keys: Ints) -> Ints:
    """One number per distinct combination of the keys."""
    combined = keys[0]
    for key in keys[1:]:
        combined, _ = numbered(pa.array(combined * (key.max() + 1) + key))
    return combined


def _sizes(whole: Ints, member: Ints) -> dict[int, int]:
    """How many wholes have each number of distinct members."""
    sizes = np.bincount(np.unique(np.stack([whole, member]), axis=1)[0])
    return {size: count for size, count in enumerate(np.bincount(sizes).tolist()) if count}


def _lengths(values: NDArray[Any]) -> Lengths:
    return Lengths(*(round(float(value)) for value in (*np.percentile(values, [50, 95]), values.max())))


def _examples(table: pa.Table, rows: Ints, column: str = "positive") -> list[dict[str, Any]]:
    rows = rows[:_EXAMPLES]
    return [
        {"row": row + 1, "id": one["id"], "language": one["language"], "column": column, "text": one[column][:_EXCERPT]}
        for row, one in zip(rows.tolist(), table.take(rows).to_pylist(), strict=True)
    ]


def _detect(
    table: pa.Table,
    rows: dict[str, Ints],
    detector: LanguageDetector,
    languages: dict[str, LanguageReport],
    min_letters: int,
    show_progress_bar: bool,
) -> list[dict[str, Any]]:
    """Count the texts in another language, and return examples."""
    examples: list[dict[str, Any]] = []
    total = 2 * sum(map(len, rows.values()))
    with progress_bar(total, "Detecting languages", show=show_progress_bar, unit="texts") as advance:
        for code, sampled in rows.items():
            report, found = languages[code], Counter[str]()
            report.checked_texts = 0
            for column in ("query", "positive"):
                checked = sampled[normalize(table[column].take(sampled)).lengths >= min_letters]
                texts = table[column].take(checked).to_pylist()
                other = np.flatnonzero(detector.other(texts, code))
                detected, confidences = detector.detect([texts[place] for place in other])
                report.checked_texts += len(checked)
                found.update(detected)
                shown = _examples(table, checked[other], column)
                for example, name, share in zip(shown, detected, confidences, strict=False):
                    example |= {"detected": name, "confidence": round(float(share), 3)}
                examples += shown
                advance(len(sampled))
            report.wrong_language, report.detected = found.total(), dict(found)
    return sorted(examples, key=lambda example: example["row"])[:_EXAMPLES]


def _count_tokens(table: pa.Table, languages: dict[str, LanguageReport], model: SentenceTransformer) -> None:
    """Add the lengths of the positives in tokens."""
    texts, codes = table["positive"].to_pylist(), np.array(table["language"].to_pylist())
    if callable(model.tokenizer):
        tokens = model.tokenizer(texts, truncation=False, return_attention_mask=False)["input_ids"]
    else:  # of a StaticEmbedding
        tokens = [one.ids for one in model.tokenizer.encode_batch(texts, add_special_tokens=False)]
    counts = np.fromiter(map(len, tokens), dtype=np.int64, count=len(texts))
    limit = model.max_seq_length or np.inf
    for code in set(codes.tolist()):
        here = counts[codes == code]
        languages[code].positive_tokens = _lengths(here)
        languages[code].too_long = round(float((here > limit).mean()), 4)


def _near_duplicates(table: pa.Table, rows: Ints, cluster: Ints, threshold: float) -> tuple[int, list[dict[str, Any]]]:
    """The number of passages with a near-duplicate in another cluster, and examples."""
    text, passages = numbered(table["positive"].take(rows))
    _, first = np.unique(text, return_index=True)
    found = near_duplicates(passages, threshold)
    apart = np.flatnonzero(cluster[first[found.first]] != cluster[first[found.second]])
    shown = apart[np.argsort(-found.similarity[apart], kind="stable")][:_EXAMPLES]
    examples, others = (_examples(table, rows[first[passage[shown]]]) for passage in (found.first, found.second))
    for example, other, similarity in zip(examples, others, found.similarity[shown].tolist(), strict=True):
        example |= {"other_row": other["row"], "other_text": other["text"], "similarity": round(similarity, 3)}
    return len(np.unique([found.first[apart], found.second[apart]])), examples
