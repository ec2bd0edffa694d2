"""A random sample of the passages of a corpus, each with its language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from st_hybrid.data.blocks import plain_suffix, read_blocks
from st_hybrid.data.collect import Batch
from st_hybrid.data.names import means_language
from st_hybrid.data.report import Dropped, ReadReport
from st_hybrid.data.tables import NamedBatch, Source
from st_hybrid.languages import check_language, codes_of, detect_languages
from st_hybrid.progress import progress_bar
from st_hybrid.rows import is_empty

_COLUMNS = {
    "text": ("text", "positive"),
    "title": ("title",),
    "language": ("language", "lang"),
}  # the first that exists
_UNDETERMINED = "und"  # BCP 47's code
_LIKELY = 0.005  # least share of a language that is there
_CERTAIN = 0.5  # probability of a detected language


class Passages(NamedTuple):
    """Passages drawn from a corpus."""

    texts: list[str]  #: The passages.
    languages: list[str]  #: The language of each.
    total: int  #: Number of passages in the corpus.
    detected: int  #: Number of passages whose language was detected.
    dropped: Mapping[str, Dropped]  #: Passages left out, by reason.


def sample_passages(
    data: str | Path | Sequence[str | Path],
    sample: int | None = 10_000,
    *,
    columns: Mapping[str, str] = MappingProxyType({}),
    language: str | None = None,
    languages: Sequence[str] | None = None,
    split: str = "train",
    revision: str | None = None,
    streaming: bool = False,
    seed: int = 0,
    show_progress_bar: bool = False,
) -> Passages:
    """Draw passages at random from a corpus, in one pass and in the memory that the sample needs.

    A corpus has a column ``text``, perhaps ``title``, which is put in front of the text, and ``language`` or ``lang``.
    Of parallel rows the positives are read, also from columns per language (``positive_de``). Of a folder in BEIR's
    layout ``corpus.jsonl`` is read. In a ``.txt`` file each line is a passage. Where no column has the language, it is
    detected in the passages that were drawn, which needs the extra ``check``.

    Args:
        data: Files (``.txt``, or as for :func:`~st_hybrid.data.open_rows`), a folder or a hub name.
        sample: Number of passages to draw; None for all.
        columns: Map the columns ``text``, ``title`` and ``language``: ``{"text": "body"}``.
        language: Language of all passages, for sources without a column of languages.
        languages: Languages to read; by default all.
        split: Split to read, of a folder or a data set.
        revision: Branch, tag or commit on the hub.
        streaming: Read from the hub as passages are needed, without a copy of the files.
        seed: Seed of the draw.
        show_progress_bar: Show the number of passages read.

    Raises:
        FileNotFoundError: A file, folder or data set does not exist.
        ValueError: A source is malformed or lacks a column, or no passage is left. The message names it.
        ModuleNotFoundError: Languages must be detected, and lingua is not installed.

    Example:
        ::

            from st_hybrid.data import sample_passages

            passages = sample_passages("rows.jsonl", 100)
            print(passages.texts[0], passages.languages[0], passages.total)
    """
    if unknown := [name for name in columns if name not in _COLUMNS]:
        raise ValueError(f"columns names {unknown[0]!r}, but its keys are {', '.join(_COLUMNS)}.")
    if sample is not None and sample < 1:
        raise ValueError(f"sample must be at least 1, got {sample}.")
    for code in [*(languages or ()), *([] if language is None else [language])]:
        check_language(code, "languages")
    random, report, total = np.random.default_rng(seed), ReadReport(), 0
    drawn = pa.schema([("text", pa.string()), ("language", pa.string()), ("key", pa.float64())]).empty_table()
    with progress_bar(None, "Reading", show=show_progress_bar, unit="passages") as advance:
        for name in map(str, [data] if isinstance(data, str | Path) else data):
            for batch in _read(Source(name, split, revision, streaming), columns, language):
                kept = _kept(batch, report, languages, "no language")
                drawn = pa.concat_tables([drawn, kept.append_column("key", pa.array(random.random(len(kept))))])
                total += len(kept)
                if sample is not None and len(drawn) > sample:
                    drawn = drawn.take(np.argpartition(drawn["key"].to_numpy(), sample)[:sample])
                advance(batch.table.num_rows)
    codes = np.array(drawn["language"].to_pylist(), dtype=object)
    if detected := int((codes == _UNDETERMINED).sum()):
        texts = drawn["text"].filter(codes == _UNDETERMINED).to_pylist()
        found, certain = detect_languages(texts, _LIKELY, languages or ())
        sure = [code if value >= _CERTAIN else None for code, value in zip(found, certain, strict=True)]
        codes[codes == _UNDETERMINED] = sure
        table = pa.table({"text": drawn["text"], "language": pa.array(codes, pa.string())})
        place = lambda row: repr(table["text"][row].as_py()[:40])  # noqa: E731 (the passages have no places any more)
        drawn = _kept(Batch(table, place), report, languages, "language not certain")
    if not len(drawn):
        reasons = "; ".join(f"{part.rows:,} left out: {reason}" for reason, part in report.dropped.items())
        raise ValueError(f"There are no passages in {data}{': ' if reasons else ''}{reasons}.")
    return Passages(drawn["text"].to_pylist(), drawn["language"].to_pylist(), total, detected, report.dropped)


def _read(source: Source, columns: Mapping[str, str], language: str | None) -> Iterator[Batch]:
    """The passages of a source, in the columns ``text`` and ``language``."""
    if corpus := sorted(map(str, Path(source.name).glob("corpus.jsonl*"))):  # BEIR's layout
        source = source._replace(name=corpus[0])
    names = {*columns.values(), *(name for usual in _COLUMNS.values() for name in usual)}
    if plain_suffix(Path(source.name)) == ".txt":
        batches = _lines(Path(source.name))
    else:
        batches = source.read(lambda name: pa.string() if name in names or _language_of(name) else None)
    roles: dict[str, str] | None = None
    for batch in batches:
        table = batch.table
        if roles is None:
            roles = _roles(batch.columns, source.name, columns, language)
        if "text" in roles:
            found = {role: _column(table, name) for role, name in roles.items()}
            parts = [found[role] for role in ("title", "text") if role in found]
            text = pc.binary_join_element_wise(*parts, " ", null_handling="replace", null_replacement="")
            codes = found.get("language", pa.repeat(language or _UNDETERMINED, len(table)))
            yield Batch(pa.table({"text": pc.utf8_trim_whitespace(text), "language": codes}), batch.place)
            continue
        for name in table.column_names:  # columns per language
            if code := _language_of(name):
                yield Batch(pa.table({"text": table[name], "language": pa.repeat(code, len(table))}), batch.place)


def _roles(present: Sequence[str], source: str, columns: Mapping[str, str], language: str | None) -> dict[str, str]:
    """The source's columns of text, title and language; none of text if it has columns per language."""
    if missing := [name for name in columns.values() if name not in present]:
        raise ValueError(f"{source} has no column {missing[0]!r}; its columns are {', '.join(map(repr, present))}.")
    usual = {role: next((name for name in names if name in present), None) for role, names in _COLUMNS.items()}
    roles = {role: name for role, name in {**usual, **columns}.items() if name is not None}
    if "text" not in roles and not any(map(_language_of, present)):
        raise ValueError(
            f"{source} has no column {' or '.join(map(repr, _COLUMNS['text']))}; its columns are "
            f"{', '.join(map(repr, present))}. Name that of the passages: columns={{'text': …}} or --column text=…."
        )
    if language is not None and ("language" in roles or "text" not in roles):
        raise ValueError(f"{source} has a language for each passage, so language={language!r} has no effect.")
    return roles


def _column(table: pa.Table, name: str) -> pa.ChunkedArray | pa.Array:
    """A column; JSON may leave it out in a whole batch, which then holds nulls."""
    return table[name] if name in table.column_names else pa.nulls(len(table), pa.string())


def _language_of(column: str) -> str | None:
    """The language of a column of texts in one language, such as ``positive_de``."""
    role, _, code = column.partition("_")
    return code if role in _COLUMNS["text"] and means_language(code) else None


def _lines(path: Path) -> Iterator[NamedBatch]:
    """The lines of a file as texts."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    for block in read_blocks(path):
        lines = block.lines()
        yield NamedBatch(pa.table({"text": lines.cast(pa.string())}), partial(_line, path, block.first), ["text"])


def _line(path: Path, first: int, row: int) -> str:
    return f"{path}:{first + row}"


def _kept(batch: Batch, report: ReadReport, languages: Sequence[str] | None, without: str) -> pa.Table:
    """The passages with a text and a language that is asked for; the others are counted."""
    text, language = batch.table["text"], batch.table["language"]
    asked = np.ones(len(text), dtype=bool)
    if languages is not None:
        codes = codes_of(languages, language.unique().to_pylist())
        asked = pc.is_in(language, value_set=pa.array([*codes, _UNDETERMINED])).to_numpy()
    kept = np.ones(len(text), dtype=bool)
    for reason, bad in (("no text", is_empty(text)), (without, is_empty(language)), ("language not asked for", ~asked)):
        left_out = kept & bad
        report.drop(reason, int(left_out.sum()), partial(batch.place, int(left_out.argmax())))
        kept &= ~bad
    return batch.table.filter(kept)
