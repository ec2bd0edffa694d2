"""The distinct texts of rows, and their translation batch by batch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from tqdm.auto import tqdm

from st_hybrid.translation.batches import token_batches
from st_hybrid.translation.checks import Checks, Mask
from st_hybrid.translation.detection import LanguageDetector
from st_hybrid.translation.journal import Journal, text_fingerprint
from st_hybrid.translation.monolingual import Source
from st_hybrid.translation.segments import SegmentedTexts, segment
from st_hybrid.translation.translator import Ints, Translator


@dataclass(frozen=True)
class Texts:
    """The distinct texts of some rows in one language.

    Args:
        texts: The texts.
        columns: The names of the rows' text columns.
        places: The number of each row's text in each column, shape ``(columns, rows)``.
        segmented: The texts as pieces.
        lengths: Tokens of the pieces.
        fingerprints: The numbers of the pieces by their fingerprints.
    """

    texts: list[str]
    columns: list[str]
    places: Ints
    segmented: SegmentedTexts
    lengths: Ints
    fingerprints: dict[bytes, int]


@dataclass
class Work:
    """Translates distinct texts, keeps what it has, and counts.

    Args:
        model: What translates.
        journal: Where translations are kept, if they are.
        max_batch_tokens: Tokens of a batch, padding included.
        checks: What makes a translation suspicious.
        detector: Tells languages apart, if that is checked.
        progress: Show progress bars.
        pieces: Counts distinct pieces, each once a target language.
        reused: Counts those of them that the journal had.
        tokens: Counts the tokens of the others.
        seconds: Counts how long these took.
    """

    model: Translator
    journal: Journal | None
    max_batch_tokens: int
    checks: Checks
    detector: LanguageDetector | None
    progress: bool
    pieces: int = 0
    reused: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def prepare(self, table: pa.Table, source: Source, *, sentences: bool) -> Texts:
        """Find the distinct texts of rows, cut them, and count tokens.

        Args:
            table: The rows.
            source: Their language.
            sentences: Cut texts into sentences.
        """
        names = [name for name in table.column_names if name not in ("id", "language")]
        values = pa.chunked_array([part for name in names for part in table[name].chunks], pa.string())
        encoded = values.cast(pa.large_string()).combine_chunks().dictionary_encode()
        texts = encoded.dictionary.to_pylist()
        segmented = segment(texts, source.code, sentences=sentences)
        lengths = [np.zeros(0, dtype=np.int64)]
        with self._bar(len(segmented.pieces), f"counting tokens, {source.language}", " texts") as bar:
            for block in blocks(len(segmented.pieces), 10_000):
                lengths.append(self.model.lengths(segmented.pieces[block], source.code))
                bar.update(len(lengths[-1]))
        return Texts(
            texts,
            names,
            encoded.indices.to_numpy().astype(np.int64).reshape(len(names), -1),
            segmented,
            np.concatenate(lengths),
            {text_fingerprint(piece, source.code): number for number, piece in enumerate(segmented.pieces)},
        )

    def translate(self, texts: Texts, wanted: Ints, source: Source, target: str, code: str) -> tuple[list[str], Mask]:
        """Translate some of the texts and check the translations.

        Args:
            texts: Distinct texts.
            wanted: Which of them to translate.
            source: Their language.
            target: The language to translate into.
            code: What the model calls it.

        Returns:
            The translations of the wanted texts, and why they are suspicious, as of :meth:`Checks.run`.
        """
        parts = [
            np.asarray([part for part in texts.segmented.texts[text] if isinstance(part, int)], dtype=np.int64)
            for text in wanted.tolist()
        ]
        pieces = np.unique(np.concatenate(parts))
        translations = self._translate_pieces(texts, pieces, source, target, code)
        emptied = np.asarray([not translation.strip() for translation in translations])
        truncated = texts.lengths > (self.model.max_source or np.iinfo(np.int64).max)
        known = {
            "emptied": np.asarray([emptied[row].any() for row in parts]),
            "truncated": np.asarray([truncated[row].any() for row in parts]),
        }
        before = [texts.texts[text] for text in wanted.tolist()]
        after = texts.segmented.join(translations, code, wanted.tolist())
        masks = []
        with self._bar(len(wanted), f"checking {target}", " texts") as bar:
            for block in blocks(len(wanted), 1_000):
                told = {name: flags[block] for name, flags in known.items()}
                masks.append(self.checks.run(before[block], after[block], code, detector=self.detector, known=told))
                bar.update(len(masks[-1]))
        return after, np.concatenate(masks)

    def _translate_pieces(self, texts: Texts, pieces: Ints, source: Source, target: str, code: str) -> list[str]:
        """Translations in the places of all pieces; empty for those that are not asked for."""
        translations = [""] * len(texts.lengths)
        done = np.zeros(len(texts.lengths), dtype=bool)
        if self.journal is not None:
            for number, translation in self.journal.read(target, texts.fingerprints).items():
                translations[number], done[number] = translation, True
        lengths = texts.lengths[pieces]
        batches = [pieces[batch] for batch in token_batches(lengths, self.max_batch_tokens)]
        # A run that goes on makes the batches that it would have made: padding shifts sums in their last digits, and so
        # perhaps a word. With other rows than last time the batches are new ones, of what is left.
        if any(0 < np.count_nonzero(done[batch]) < len(batch) for batch in batches):
            left = pieces[~done[pieces]]
            batches = [left[batch] for batch in token_batches(texts.lengths[left], self.max_batch_tokens)]
        numbers = list(texts.fingerprints)
        self.pieces += len(pieces)
        self.reused += int(np.count_nonzero(done[pieces]))
        with self._bar(int(lengths.sum()), f"{source.language} → {target}", " tokens") as bar:
            bar.update(int(texts.lengths[pieces[done[pieces]]].sum()))
            for batch in batches:
                if done[batch].all():
                    continue
                began = time.perf_counter()
                made = self.model.translate([texts.segmented.pieces[number] for number in batch], source.code, code)
                self.seconds += time.perf_counter() - began
                if len(made) != len(batch):
                    raise ValueError(f"{self.model.name} gave {len(made)} translations of {len(batch)} texts.")
                if self.journal is not None:
                    self.journal.append(target, [numbers[number] for number in batch], made)
                for number, translation in zip(batch.tolist(), made, strict=True):
                    translations[number] = translation
                tokens = int(texts.lengths[batch].sum())
                self.tokens += tokens
                bar.update(tokens)
        return translations

    def _bar(self, total: int, what: str, unit: str) -> tqdm:
        return tqdm(total=total, desc=what, unit=unit, unit_scale=True, disable=None if self.progress else True)


def blocks(length: int, size: int) -> Iterator[slice]:
    """Slices of a size, one after the other."""
    return (slice(start, min(start + size, length)) for start in range(0, length, size))
