"""Check parallel rows before training: whether they are what their columns say, and what would harm training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from numpy.typing import NDArray

from st_hybrid.data.check_report import Example, LanguageReport, Lengths, Limits, RowsReport
from st_hybrid.data.near_duplicates import near_duplicates
from st_hybrid.data.normalized import normalize
from st_hybrid.grouping import Ints, numbered, place_in_group
from st_hybrid.languages import LanguageDetector
from st_hybrid.progress import progress_bar
from st_hybrid.rows import ROLES, ParallelRows, is_empty, read_columns

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_EXAMPLES = 10  # per finding
_EXCERPT = 120  # characters of an example


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
    """Check parallel rows before training on them.

    Rows that :func:`~st_hybrid.parallel_pairs` would refuse are counted.

    Args:
        rows: Parallel rows.
        limits: How much of each finding is acceptable.
        columns: The rows' names of ``id``, ``language``, ``query`` and ``positive`` where they differ.
        detect: Detect the language of texts (:class:`~st_hybrid.languages.LanguageDetector`).
        every_language: Detect all languages that the detector knows, not only those of the rows and widely written
            ones. This is slower and less certain.
        confidence: Probability from which a text counts as being in another language, in [0, 1] (0.9 by default). Among
            the languages of the rows, 0.9 gave no false alarm in 2,000 paragraphs.
        min_letters: Do not detect the language of texts with fewer letters, of which the detector is not certain (40 by
            default).
        sample: Number of rows per language, drawn at random, whose language is detected and whose tokens are counted;
            None for all rows.
        near_duplicate_threshold: Jaccard similarity from which passages are near-duplicates; None to skip the search.
        model: Count its tokens, and the positives that it truncates.
        seed: Seed of the sample.
        show_progress_bar: Show the progress of the language detection.

    Returns:
        The report.

    Raises:
        ValueError: There are no rows, a column is missing or is not text, or an option needs ``detect=True`` or
            ``near_duplicate_threshold``.
        ModuleNotFoundError: ``detect`` or ``near_duplicate_threshold`` needs a package that is not installed.

    Example:
        ::

            from datasets import Dataset
            from rich import print
            from st_hybrid.data.check import check_rows

            rows = Dataset.from_dict({
                "id": [1, 1, 2],
                "language": ["de", "en", "en"],
                "query": ["Wo nisten Störche?", "Where do storks nest?", "What do bees make?"],
                "positive": ["Auf Dächern.", "On roofs.", ""],
            })
            print(check_rows(rows))
    """
    limits = limits or Limits()
    if not detect and (every_language or confidence is not None or min_letters is not None):
        raise ValueError("every_language, confidence and min_letters have no effect with detect=False (--no-detect).")
    if near_duplicate_threshold is None and limits.near_duplicates is not None:
        raise ValueError("The limit of near-duplicates has no effect without near_duplicate_threshold.")
    confidence = 0.9 if confidence is None else confidence
    min_letters = 40 if min_letters is None else min_letters

    dataset, read = read_columns(rows, columns or {}, negative_columns=[])
    table = pa.table({role: pc.fill_null(read[role].cast(pa.large_string()), "") for role in ROLES})
    group, language, query, positive = (numbered(table[role])[0] for role in ROLES)
    codes = table["language"].unique().to_pylist()

    empty = np.logical_or.reduce([is_empty(table[role]) for role in ROLES])
    repeated = ~empty & (place_in_group(_combined(group, language)) > 0)
    duplicates = ~(empty | repeated) & (place_in_group(_combined(language, query, positive)) > 0)
    in_group = _combined(group, positive)
    _, first = np.unique(_combined(in_group, language), return_index=True)
    untranslated = ~empty & (np.bincount(in_group[first])[in_group] > 1)

    query_characters, positive_characters = (pc.utf8_length(table[role]).to_numpy() for role in ("query", "positive"))
    languages = {}
    for code in sorted(codes):
        here = language == codes.index(code)
        languages[code] = LanguageReport(
            rows=int(here.sum()),
            empty=int((here & empty).sum()),
            repeated=int((here & repeated).sum()),
            duplicates=int((here & duplicates).sum()),
            untranslated=int((here & untranslated).sum()),
            query_characters=_lengths(query_characters[here]),
            positive_characters=_lengths(positive_characters[here]),
        )
    findings = {"empty": empty, "repeated": repeated, "duplicates": duplicates, "untranslated": untranslated}
    examples = {name: list(_examples(table, np.flatnonzero(found))) for name, found in findings.items()}
    valid = np.flatnonzero(~(empty | repeated))
    drawn = np.random.default_rng(seed).permutation(valid)
    sampled = valid if sample is None else np.sort(drawn[place_in_group(language[drawn]) < sample])
    undetectable: list[str] = []
    if detect:
        detector = LanguageDetector(None if every_language else codes, other_above=confidence)
        undetectable = [code for code in languages if not detector.knows(code)]
        by_language = {
            code: sampled[language[sampled] == codes.index(code)] for code in languages if detector.knows(code)
        }
        examples["wrong_language"] = _detect(table, by_language, detector, languages, min_letters, show_progress_bar)
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
        options={
            "detect": detect,
            **(
                {"every_language": every_language, "confidence": confidence, "min_letters": min_letters}
                if detect
                else {}
            ),
            "sample": sample,
            "near_duplicate_threshold": near_duplicate_threshold,
            "seed": seed,
            "limits": asdict(limits),
        },
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


def _examples(table: pa.Table, rows: Ints, column: str = "positive") -> Iterator[Example]:
    rows = rows[:_EXAMPLES]
    for row, one in zip(rows.tolist(), table.take(rows).to_pylist(), strict=True):
        yield Example(row + 1, one["id"], one["language"], column, one[column][:_EXCERPT])


def _detect(
    table: pa.Table,
    rows: dict[str, Ints],
    detector: LanguageDetector,
    languages: dict[str, LanguageReport],
    min_letters: int,
    show_progress_bar: bool,
) -> list[Example]:
    """Count the texts in another language, and return examples."""
    examples = []
    total = 2 * sum(map(len, rows.values()))
    with progress_bar(total, "Detecting languages", show=show_progress_bar, unit="texts") as advance:
        for column in ("query", "positive"):
            found = []
            for code, sampled in rows.items():
                checked = sampled[normalize(table[column].take(sampled)).lengths >= min_letters]
                texts = table[column].take(checked).to_pylist()
                other = np.flatnonzero(detector.other(texts, code))
                detected, confidences = detector.detect([texts[place] for place in other])
                report = languages[code]
                report.checked_texts = (report.checked_texts or 0) + len(checked)
                report.wrong_language = (report.wrong_language or 0) + len(other)
                report.detected = dict(Counter(report.detected) + Counter(detected))
                # The first examples only, so not as many as languages.
                shown = zip(_examples(table, checked[other], column), detected, confidences, strict=False)
                for example, name, share in shown:
                    example.detected, example.confidence = name, round(float(share), 3)
                    found.append(example)
                advance(len(sampled))
            examples += sorted(found, key=lambda example: example.row)[:_EXAMPLES]
    return examples


def _count_tokens(table: pa.Table, languages: dict[str, LanguageReport], model: SentenceTransformer) -> None:
    """Add the lengths of the positives in tokens."""
    texts, codes = table["positive"].to_pylist(), np.array(table["language"].to_pylist())
    tokens = model.tokenizer(texts, truncation=False, return_attention_mask=False)["input_ids"]
    counts = np.fromiter(map(len, tokens), dtype=np.int64, count=len(texts))
    limit = model.max_seq_length or np.inf
    for code in set(codes.tolist()):
        here = counts[codes == code]
        languages[code].positive_tokens = _lengths(here)
        languages[code].too_long = round(float((here > limit).mean()), 4)


def _near_duplicates(table: pa.Table, rows: Ints, cluster: Ints, threshold: float) -> tuple[int, list[Example]]:
    """The number of passages with a near-duplicate in another cluster, and examples."""
    text, passages = numbered(table["positive"].take(rows))
    _, first = np.unique(text, return_index=True)
    found = near_duplicates(passages, threshold)
    apart = np.flatnonzero(cluster[first[found.first]] != cluster[first[found.second]])
    shown = apart[np.argsort(-found.similarity[apart], kind="stable")][:_EXAMPLES]
    examples = list(_examples(table, rows[first[found.first[shown]]]))
    others = _examples(table, rows[first[found.second[shown]]])
    for example, other, similarity in zip(examples, others, found.similarity[shown].tolist(), strict=True):
        example.other_row, example.other_text, example.similarity = other.row, other.text, round(similarity, 3)
    return len(np.unique([found.first[apart], found.second[apart]])), examples
