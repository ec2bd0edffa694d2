"""The readers on files of other layouts made from real rows, and on millions of passages.

    python benchmarks/readers.py ROWS.jsonl.gz --output benchmarks/results/readers.json

First, rows are written in wide form, in SQuAD's format and in mMARCO's layout, read back, and their pairs compared with
those of the rows: the same queries and positives in the same languages, and the same passage clusters. Second, rows of
random words are written as JSON lines and as CSV, and `open_rows` is compared with Arrow's own reader. Third, a
collection in mMARCO's layout is generated, of random words in Latin and in Cyrillic, and read in a process of its own,
several times. Rates are of the median time; where others use the machine too, go by processor seconds.
Peak memory is given as resident (with the pages of files that the system may drop at any time) and as anonymous (what
the process itself holds). Set TMPDIR to a folder on a disk with 12 GB of room.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import resource
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.json as pajson
from datasets import Dataset
from numpy.typing import NDArray
from rich.console import Console

from st_hybrid import parallel_pairs
from st_hybrid.data import Rows, open_rows, read_mmarco, read_squad
from st_hybrid.languages import english_name
from st_hybrid.pairs import pair_text
from st_hybrid.provenance import provenance

Ints = NDArray[np.int64]

LETTERS = {"de": ("a", 26), "ru": ("а", 32)}  # the first letter of a language's script, and how many follow it
VOCABULARY = 50_000
WORDS = 50  # of a passage on average; mMARCO's have about as many
BATCH = 100_000


def one_line(rows: Dataset) -> Dataset:
    """Rows without the tabs and line breaks that mMARCO's layout has no place for."""
    table = rows.with_format("arrow")[:]
    for name in ("query", "positive"):
        text = pc.utf8_trim_whitespace(pc.replace_substring_regex(table[name], r"[\t\r\n]+", " "))
        table = table.set_column(table.column_names.index(name), name, text)
    return Dataset(table)


def groups_of(rows: Dataset) -> dict[str, dict[str, dict[str, str]]]:
    """Rows by id and language."""
    groups: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(row["id"], {})[row["language"]] = row
    return groups


def read_wide(rows: Dataset, folder: Path) -> Rows:
    wide = [
        {"id": group, **{f"{name}_{code}": row[name] for code, row in part.items() for name in ("query", "positive")}}
        for group, part in groups_of(rows).items()
    ]
    with (folder / "wide.jsonl").open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in wide)
    return open_rows(folder / "wide.jsonl")


def write_squad(rows: Dataset, folder: Path, passages: int) -> None:
    """A file a language; a paragraph holds so many passages, each of them one of its sentences."""
    folder.mkdir()
    of_language: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        of_language.setdefault(row["language"], []).append(row)
    for code, part in of_language.items():
        paragraphs = []
        for first in range(0, len(part), passages):
            context, breaks, questions = "", [], []
            for row in part[first : first + passages]:
                start = len(context)
                context += row["positive"]
                breaks.append([start, len(context)])
                context += " "
                answer = {"answer_start": start, "text": row["positive"].split(" ")[0]}
                questions.append({"id": row["id"], "question": row["query"], "answers": [answer]})
            paragraphs.append({"context": context[:-1], "sentence_breaks": breaks, "qas": questions})
        content = {"data": [{"title": code, "paragraphs": paragraphs}]}
        (folder / f"{code}.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def read_sentences(rows: Dataset, folder: Path) -> Rows:
    write_squad(rows, folder / "squad-sentences", 4)
    return read_squad(folder / "squad-sentences", positive="sentence")


def read_paragraphs(rows: Dataset, folder: Path) -> Rows:
    write_squad(rows, folder / "squad-paragraphs", 1)
    return read_squad(folder / "squad-paragraphs", positive="paragraph")


def read_layout(rows: Dataset, folder: Path) -> Rows:
    """MMARCO's layout: a group's number is that of its query and of its passage."""
    root = folder / "mmarco"
    numbers = {group: number for number, group in enumerate(groups_of(rows))}
    texts: dict[str, dict[int, dict[str, str]]] = {}
    for row in rows:
        texts.setdefault(row["language"], {})[numbers[row["id"]]] = row
    for code, part in texts.items():
        name = str(english_name(code)).lower()
        for path, text in (
            (root / "google" / "collections" / f"{name}_collection.tsv", "positive"),
            (root / "google" / "queries" / "train" / f"{name}_queries.train.tsv", "query"),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{n}\t{row[text]}\n" for n, row in part.items()), encoding="utf-8", newline="")
    (root / "qrels.train.tsv").write_text("".join(f"{n}\t0\t{n}\t1\n" for n in numbers.values()), encoding="utf-8")
    return read_mmarco(root)


LAYOUTS: dict[str, Callable[[Dataset, Path], Rows]] = {
    "wide": read_wide,
    "SQuAD, sentences": read_sentences,
    "SQuAD, paragraphs": read_paragraphs,
    "mMARCO": read_layout,
}


def numbered_pairs(rows: Dataset, numbers: dict[str, int]) -> tuple[Ints, Ints]:
    """All pairs as numbers of query, positive and both languages, in order, and the clusters that they are in."""
    pairs = parallel_pairs(rows)
    columns = {name: np.array([numbers[text] for text in rows[name]]) for name in ("language", "query", "positive")}
    place = pairs.with_format("numpy")[:]
    query, positive = place["query"], place["positive"]
    places = (("query", query), ("positive", positive), ("language", query), ("language", positive))
    keys = np.stack([columns[name][rows_of] for name, rows_of in places], axis=1)
    clusters = np.array(pair_text(pairs).keys["cluster"])[positive]
    order = np.lexsort(keys.T)
    return keys[order], clusters[order]


def same_pairs(rows: Dataset, others: Dataset) -> dict[str, Any]:
    """Whether two sets of rows give the same pairs, in the same clusters but for the clusters' numbers."""
    texts = {text for part in (rows, others) for name in ("language", "query", "positive") for text in part[name]}
    numbers = {text: number for number, text in enumerate(texts)}
    (keys, clusters), (other_keys, other_clusters) = (numbered_pairs(part, numbers) for part in (rows, others))
    same_keys = np.array_equal(keys, other_keys)
    # Pairs of equal texts and languages are in one cluster, so the order among them does not matter.
    both = len(np.unique(np.stack([clusters, other_clusters], axis=1), axis=0)) if same_keys else -1
    return {
        "pairs": len(keys),
        "clusters": len(np.unique(clusters)),
        "identical_pairs": same_keys,
        "identical_clusters": both == len(np.unique(clusters)) == len(np.unique(other_clusters)),
    }


def compare_layouts(source: Path, scratch: Path) -> dict[str, Any]:
    """Write rows in each layout, read them back and compare."""
    given = open_rows(source).rows
    lines = one_line(given)
    changed = sum(before != after for before, after in zip(given, lines, strict=True))
    results = {}
    for name, read in LAYOUTS.items():
        rows = lines if name == "mMARCO" else given
        folder = Path(tempfile.mkdtemp(dir=scratch))
        found, report = read(rows, folder)
        results[name] = {"rows": len(found), "missing_languages": report.read - report.kept, **same_pairs(rows, found)}
        shutil.rmtree(folder)
    return {"source": source.name, "rows": len(given), "rows_put_on_one_line_for_mmarco": changed, "layouts": results}


def words(code: str, generator: np.random.Generator) -> pa.Array:
    """Random words of two to nine letters."""
    first, count = LETTERS[code]
    letters = np.array([chr(ord(first) + place) for place in range(count)])
    sizes = generator.integers(2, 10, VOCABULARY)
    drawn = letters[generator.integers(0, count, int(sizes.sum()))]
    return pa.array(["".join(part) for part in np.split(drawn, np.cumsum(sizes)[:-1])])


def write_texts(path: Path, vocabulary: pa.Array, numbers: Ints, length: int, generator: np.random.Generator) -> None:
    """Lines of a number, a tab and random words, about ``length`` of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for first in range(0, len(numbers), BATCH):
            part = numbers[first : first + BATCH]
            sizes = generator.integers(length // 2, length * 3 // 2 + 1, len(part))
            drawn = vocabulary.take(pa.array(generator.integers(0, VOCABULARY, int(sizes.sum()), dtype=np.int32)))
            offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
            text = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), drawn), " ")
            lines = pc.binary_join_element_wise(pa.array(part).cast(pa.string()), text, "\t")
            file.write(pc.binary_join_element_wise(lines, "", "\n").buffers()[2])


def write_rows(folder: Path, rows: int, seed: int) -> dict[str, Path]:
    """Rows of random words as JSON lines and as CSV; a third of the values have quotation marks and commas."""
    generator = np.random.default_rng(seed)
    drawn = [words(code, generator).take(pa.array(generator.integers(0, VOCABULARY, rows * WORDS))) for code in LETTERS]
    texts = [drawn[n % 2].slice(n // 2 * WORDS, WORDS).to_pylist() for n in range(rows)]
    for text in texts[::3]:
        text[7] = f'"{text[7]}",'
    codes = list(LETTERS)
    found = [
        {"id": f"g{n // 2}", "language": codes[n % 2], "query": " ".join(text[:6]), "positive": " ".join(text[6:])}
        for n, text in enumerate(texts)
    ]
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, found[0])
        writer.writeheader()
        writer.writerows(found)
    return {"JSON lines": folder / "rows.jsonl", "CSV": folder / "rows.csv"}


def by_arrow(path: Path) -> pa.Table:
    """What Arrow's own reader makes of a file, on one thread."""
    if path.suffix == ".jsonl":
        return pajson.read_json(path, pajson.ReadOptions(use_threads=False, block_size=1 << 22))
    return pacsv.read_csv(path, pacsv.ReadOptions(use_threads=False), pacsv.ParseOptions(newlines_in_values=True))


def compare_formats(folder: Path, rows: int, repeats: int, seed: int) -> dict[str, Any]:
    """Median seconds of the clock and of the processor, of `open_rows` and of Arrow's reader."""
    results: dict[str, Any] = {"rows": rows}
    for name, path in write_rows(folder, rows, seed).items():
        results[name] = {"bytes": path.stat().st_size}
        for what, read in (("open_rows", open_rows), ("arrow", by_arrow)):
            times = []
            for _ in range(repeats + 1):  # the first warms up
                began, used = time.perf_counter(), time.process_time()
                read(path)
                times.append((time.perf_counter() - began, time.process_time() - used))
            seconds, cpu_seconds = (round(statistics.median(part), 3) for part in zip(*times[1:], strict=True))
            results[name][what] = {"seconds": seconds, "cpu_seconds": cpu_seconds}
    return results


def write_numbers(path: Path, *columns: Ints) -> None:
    table = pa.table({str(place): pa.array(column) for place, column in enumerate(columns)})
    pacsv.write_csv(table, path, pacsv.WriteOptions(include_header=False, delimiter="\t"))


def generate(root: Path, passages: int, queries: int, triples: int, seed: int) -> dict[str, int]:
    """A collection in mMARCO's layout; returns the size of each file in bytes."""
    generator = np.random.default_rng(seed)
    query_numbers = np.sort(generator.choice(1_200_000, queries * 8 // 5, replace=False))
    for code in LETTERS:
        name = str(english_name(code)).lower()
        vocabulary = words(code, generator)
        collection = root / "google" / "collections" / f"{name}_collection.tsv"
        write_texts(collection, vocabulary, np.arange(passages), WORDS, generator)
        asked = root / "google" / "queries" / "train" / f"{name}_queries.train.tsv"
        write_texts(asked, vocabulary, generator.permutation(query_numbers), 6, generator)
    answered = generator.choice(query_numbers, queries, replace=False)
    relevant = generator.integers(0, passages, queries)
    constant = np.zeros(queries, dtype=np.int64)
    write_numbers(root / "qrels.train.tsv", answered, constant, relevant, constant + 1)
    drawn = generator.integers(0, queries, triples)
    negative = generator.integers(0, passages, triples)
    write_numbers(root / "triples.train.ids.small.tsv", answered[drawn], relevant[drawn], negative)
    return {str(path.relative_to(root)): path.stat().st_size for path in sorted(root.rglob("*.tsv"))}


@contextmanager
def peak_anonymous(every: float = 0.02) -> Iterator[list[float]]:
    """Sample the process's anonymous memory in GiB; the list holds its peak in the end."""
    peak, done = [0.0], threading.Event()

    def sample() -> None:
        while not done.wait(every):
            status = Path("/proc/self/status").read_text(encoding="utf-8")
            found = next(line for line in status.splitlines() if line.startswith("RssAnon"))
            peak[0] = max(peak[0], int(found.split()[1]) / 2**20)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def read_measured(root: Path, negatives: int, told: Any) -> None:
    """Read the collection in a process of its own and tell how that went."""
    with peak_anonymous() as anonymous:
        began = time.perf_counter()
        rows, report = read_mmarco(root, negatives=negatives)
        seconds = time.perf_counter() - began
    usage = resource.getrusage(resource.RUSAGE_SELF)
    told.send(
        {
            "seconds": seconds,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "rows": len(rows),
            "left_out": report.read - report.kept,
            "passages": sum(lines for name, lines in report.sources.items() if "collection" in name),
            "peak_resident_gib": usage.ru_maxrss / 2**20,
            "peak_anonymous_gib": anonymous[0],
        }
    )


def measure(root: Path, negatives: int, repeats: int) -> dict[str, Any]:
    """Median seconds and highest memory of several readings."""
    context = multiprocessing.get_context("spawn")
    runs: list[dict[str, Any]] = []
    for _ in range(repeats):
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=read_measured, args=(root, negatives, send))
        process.start()
        send.close()
        runs.append(receive.recv())
        process.join()
    seconds, cpu_seconds = (statistics.median(run[name] for run in runs) for name in ("seconds", "cpu_seconds"))
    same = {name: runs[0][name] for name in ("rows", "left_out", "passages")}
    return {
        "negatives": negatives,
        **same,
        **{name: [round(run[name], 1) for run in runs] for name in ("seconds", "cpu_seconds")},
        "passages_per_second": round(same["passages"] / seconds),
        "passages_per_cpu_second": round(same["passages"] / cpu_seconds),
        "rows_per_second": round(same["rows"] / seconds),
        **{name: round(max(run[name] for run in runs), 2) for name in ("peak_resident_gib", "peak_anonymous_gib")},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="parallel rows in long form")
    parser.add_argument("--rows-of-formats", type=int, default=200_000, help="rows of the JSON lines and of the CSV")
    parser.add_argument("--passages", type=int, default=8_000_000, help="passages of a language")
    parser.add_argument("--queries", type=int, default=500_000, help="queries with a relevant passage")
    parser.add_argument("--triples", type=int, default=40_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(arguments)

    results: dict[str, Any] = {**provenance(), "seed": given.seed}
    results["versions"] |= {name: version(name) for name in ("datasets", "pyarrow")}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        results["layouts"] = compare_layouts(given.rows, scratch)
        Console().print(results["layouts"])
        results["formats"] = compare_formats(scratch, given.rows_of_formats, given.repeats, given.seed)
        Console().print(results["formats"])
        root = scratch / "generated"
        sizes = generate(root, given.passages, given.queries, given.triples, given.seed)
        results["collection"] = {
            "bytes": sizes,
            "runs": [measure(root, negatives, given.repeats) for negatives in (0, 2)],
        }
        Console().print(results["collection"])
    if given.output:
        given.output.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
