"""Kill each command at random moments, run it again, and compare with a run that nothing disturbed.

    python -m benchmarks.kills --kills 20 --output benchmarks/results/kills.json

Each command runs once undisturbed. Then it is started in a new folder, gets SIGKILL, and the same command is run
again. The moments are spread evenly over the undisturbed time, each drawn within its share. After the kill, what stands
under the name of a result must be whole. The second run must end well, with the results of the undisturbed run apart
from dates, seconds and the log's means, and leave no temporary file and no process. Small models and texts are made
here; nothing needs a network.

To add a command, add a :class:`Job` to :func:`jobs`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import yaml
from rich.console import Console
from rich.table import Table
from safetensors import SafetensorError, safe_open

from st_hybrid.files import write_json
from st_hybrid.provenance import provenance
from tests.models import WORDS, save_encoder, save_translator

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "st_hybrid.cli"]
#: Keys of results that differ between two undisturbed runs, or between one run and one in two parts.
DIFFERS = {
    *("date", "seconds", "command", "versions", "hardware", "resumed_from", "log", "reused", "tokens"),
    *("finished", "train_seconds", "evaluate_seconds"),
}
LONGEST = 300  # seconds that a command may take


@dataclass(frozen=True)
class Job:
    """A command, run in a folder of its own beside ``inputs``.

    Attributes:
        command: The command.
        results: Globs of the files to compare. Of JSON and Parquet the content counts.
        stages: What a kill hit, by a glob of what is there by then; the last that matches counts.
        environment: Variables of its own.
        in_place: Globs of results that a library writes in place: they may be half written until the end.
    """

    command: list[str]
    results: tuple[str, ...]
    stages: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    in_place: tuple[str, ...] = ()


def jobs(address: str) -> dict[str, Job]:
    """The commands by name."""
    data, model = ["data"], ["--model", "../inputs/encoder"]
    rows, miracl = (
        "../inputs/rows.jsonl",
        ["--language", "sw", "--data-dir", "../inputs/miracl", "--memory-gb", "0.0131"],
    )
    miracl = ["encode", *model, "--languages", *miracl[1:], "--output", "out", "--batch-size", "16"]
    training = ["--batch-size", "4", "--max-steps", "400", "--save-steps", "10", "--learning-rate", "1e-3"]
    training += ["--held-out", "6", "--anchor", "en", "--merge", "0.3", "--output", "out", "--resume"]
    translation = ["--to", "de,ru", "--model", "../inputs/translator", "--language", "en", "--device", "cpu"]
    translation += ["--max-batch-tokens", "12", "--check.skip", "copied", "--check.skip", "language"]
    translation += ["--check.skip", "repetition", "--output", "out.jsonl", "--report", "report.json"]
    shards = {"out": "started", "out/**/*.safetensors": "between shards", "out/**/.*.part": "in a shard's file"}
    written = {"*.part": "writing", ".*.part": "writing", "out.jsonl": "rows written", "*.json": "report written"}
    wrapper = [sys.executable, "../inputs/from_here.py", address]
    return {
        "train": Job(
            [*COMMAND, "train", *model, "--data", rows, *training],
            ("out/model.safetensors", "out/training.json", "out/settings.json", "out/modules.json"),
            {
                "out/settings.json": "before a checkpoint",
                "out/checkpoints/anchor-0.safetensors": "first steps",
                "out/checkpoints/checkpoint-*/trainer_state.json": "between checkpoints",
                "half a checkpoint": "in a checkpoint",
                "out/model.safetensors": "writing the model",
                "out/training.json": "summary written",
            },
            in_place=("out/model.safetensors", "out/modules.json"),
        ),
        "study": Job(
            [*COMMAND, "study", "run", "../inputs/grid.yaml", "--output", "out"],
            ("out/plan.json", "out/cells/*/*.json", "out/cells/*/*.parquet"),
            {
                "out/plan.json": "first cell",
                "out/cells/*/model/checkpoints/checkpoint-*": "training",
                "out/cells/*/training.json": "evaluating",
                "out/cells/*/cell.json": "a cell done",
            },
        ),
        "translate": Job(
            [*COMMAND, *data, "translate", "../inputs/english.jsonl", *translation],
            ("out.jsonl", "report.json"),
            {"out.jsonl.journal": "translating", **written},
        ),
        "download": Job(
            [*wrapper, "evaluate", *model, "--task", "XQuAD-R", "--output", "scores.json"],
            ("scores.json", "scores.per-query.parquet", "cache/lareqa/**/*.json"),
            {
                "cache/lareqa/**/.*.part": "in a download",
                "cache/lareqa/**/*.json": "between downloads or evaluating",
                "scores.*.parquet": "queries written",
                "scores.json": "scores written",
            },
            {"HF_HUB_OFFLINE": "0"},
        ),
        "encode": Job([*COMMAND, *miracl], ("out/**/*.safetensors",), shards),
        "encode --engine ray": Job(
            [*COMMAND, *miracl, "--engine", "ray", "--workers", "2"], ("out/**/*.safetensors",), shards
        ),
        "check": Job(
            [*COMMAND, *data, "check", rows, "--report", "report.json", "--plot", "plot.png"],
            ("report.json",),
            {"report.json": "report written", "plot.png": "figure written"},
        ),
        "decontaminate": Job(
            [*COMMAND, *data, "decontaminate", rows, "--against", "../inputs/texts.txt", "--output", "out.jsonl"],
            ("out.jsonl", "out.jsonl.decontamination.json"),
            written,
        ),
        "mine": Job([*COMMAND, *data, "mine", rows, *model, "--output", "out.jsonl"], ("out.jsonl",), written),
    }


def write_inputs(folder: Path, files: dict[str, bytes]) -> None:
    """Write the models and texts, and the script that takes the evaluation data from this machine's server."""
    save_encoder(folder / "encoder")
    save_translator(folder / "translator")
    says = {"en": ("Who lives at {}, {}?", "Mr {} does, of {}."), "de": ("Wer wohnt in {}, {}?", "Herr {} aus {}.")}
    drawn = random.Random(0)
    names = ["".join(drawn.choices("abdeiklmnoprstu", k=7)).title() for _ in range(400)]
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as lines:
        for number, name in enumerate(names):
            for code, texts in says.items():
                query, positive = (text.format(number, name) for text in texts)
                row = {"id": number, "language": code, "query": query, "positive": positive}
                print(json.dumps(row), file=lines)
    own = {"batch_size": 4, "learning_rate": 1e-3, "save_steps": 10, "dtype": "float32"}
    grid = {
        "models": {"encoder": {"path": "../inputs/encoder"}},
        "data": {"rows": {"sets": ["../inputs/rows.jsonl"]}},
        "methods": {"untouched": None, "hybrid": {}, "X-Y": {"sampler": "x-y"}},
        "budgets": {"short": {"steps": 60}},
        "recipe": own,
        "evaluation": {"data": ["../inputs/rows.jsonl"], "sample": 40},
    }
    (folder / "grid.yaml").write_text(yaml.safe_dump(grid, sort_keys=False), encoding="utf-8")
    (folder / "texts.txt").write_text("\n".join(f"Mr {n} does, of {names[n]}." for n in range(20)), encoding="utf-8")
    with (folder / "english.jsonl").open("w", encoding="utf-8") as lines:
        words = WORDS["eng_Latn"]
        for number in range(400):
            query, positive = (" ".join(drawn.choices(words, k=drawn.randint(2, 4))) for _ in range(2))
            print(json.dumps({"id": number, "query": query, "positive": positive}), file=lines)
    base, corpus = folder / "miracl" / "miracl-v1.0-sw", folder / "miracl" / "miracl-corpus-v1.0-sw"
    for part in (base / "topics", base / "qrels", corpus):
        part.mkdir(parents=True)
    name = "miracl-v1.0-sw-dev.tsv"
    (base / "topics" / f"topics.{name}").write_text("q0\tNani?\n", encoding="utf-8")
    (base / "qrels" / f"qrels.{name}").write_text("q0\tQ0\t0#0\t1\n", encoding="utf-8")
    with gzip.open(corpus / "docs-0.jsonl.gz", "wt", encoding="utf-8") as lines:
        for number in range(8000):
            text = " ".join(drawn.choices(names, k=15))
            print(json.dumps({"docid": f"{number}#0", "title": f"Page {number}", "text": text}), file=lines)

    for code, (asks, answers) in says.items():
        content = []
        for start in range(0, 60, 3):
            sentences = [answers.format(number, names[number]) for number in range(start, start + 3)]
            begins = [sum(len(text) + 1 for text in sentences[:place]) for place in range(3)]
            questions = [
                {
                    "id": f"q{start + place}",
                    "question": asks.format(start + place, names[start + place]),
                    "answers": [{"answer_start": begin, "text": sentences[place][:2]}],
                }
                for place, begin in enumerate(begins)
            ]
            breaks = [[begin, begin + len(text)] for begin, text in zip(begins, sentences, strict=True)]
            content.append({"context": " ".join(sentences), "sentence_breaks": breaks, "qas": questions})
        files[f"{code}.json"] = json.dumps({"data": [{"title": "T", "paragraphs": content}]}).encode()
    known = {name.removesuffix(".json"): (60, 60, hashlib.sha256(data).hexdigest()) for name, data in files.items()}
    (folder / "from_here.py").write_text(
        "import sys\nfrom st_hybrid.cli import main\nfrom st_hybrid.evaluation import lareqa\n"
        f"lareqa.HOME = sys.argv.pop(1)\nknown = {known!r}\n"
        "files = {code: lareqa.LareqaFile(*file) for code, file in known.items()}\n"
        "lareqa.PUBLISHED['XQuAD-R'] = files\n"
        "lareqa.PUBLISHED_COUNTS['XQuAD-R'] = {code: file[:2] for code, file in files.items()}\nmain()\n",
        encoding="utf-8",
    )


@contextmanager
def server(files: dict[str, bytes], seconds: float = 1.5) -> Iterator[str]:
    """Serve files by their last name, each slowly."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = files[self.path.rpartition("/")[2]]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            try:
                for start in range(0, len(data), size := len(data) // 20):
                    self.wfile.write(data[start : start + size])
                    self.wfile.flush()
                    time.sleep(seconds / 20)
            except OSError:  # the one that asked was killed
                pass

        def log_message(self, *_: object) -> None:
            pass

    one = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=one.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{one.server_port}"
    finally:
        one.shutdown()


class Run:
    """A folder in which a command runs, perhaps twice."""

    def __init__(self, work: Path, job: Job, mark: str) -> None:
        self.folder, self.job = Path(tempfile.mkdtemp(dir=work, prefix="r")), job
        self.mark = f"{mark}-{self.folder.name}"
        for name in ("tmp", "cache", "datasets"):
            (self.folder / name).mkdir()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command."""
        own = {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "200",
            "TMPDIR": str(self.folder / "tmp"),
            "ST_HYBRID_CACHE": str(self.folder / "cache"),
            "HF_DATASETS_CACHE": str(self.folder / "datasets"),
            "no_proxy": "127.0.0.1",
            "ST_HYBRID_KILLS": self.mark,
        }
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            return subprocess.Popen(
                self.job.command, cwd=self.folder, env=os.environ | own | dict(self.job.environment), stdout=log,
                stderr=log,
            )  # fmt: skip

    def log(self) -> str:
        """What it printed."""
        return (self.folder.parent / f"{self.folder.name}.log").read_text(encoding="utf-8")

    def results(self, *, without: tuple[str, ...] = ()) -> dict[str, str]:
        """A checksum of each result that is there."""
        paths = {path for glob in self.job.results for path in self.folder.glob(glob) if ".part" not in path.name}
        paths -= {path for glob in without for path in self.folder.glob(glob)}
        return {str(path.relative_to(self.folder)): checksum(path) for path in sorted(paths)}

    def stage(self) -> str:
        """What a kill hit, by what is there."""
        folders = list(self.folder.glob("out/checkpoints/checkpoint-*"))
        half = any(not (folder / "trainer_state.json").is_file() for folder in folders)
        found = "starting"
        for glob, stage in {"tmp/st-hybrid-*": "working", **self.job.stages}.items():
            if (half and glob == "half a checkpoint") or any(self.folder.glob(glob)):
                found = stage
        return found

    def left(self) -> list[str]:
        """Temporary files; Ray keeps the logs of its sessions."""
        paths = [*self.folder.rglob("*.part"), *self.folder.rglob("*incomplete*"), *(self.folder / "tmp").rglob("*")]
        names = {str(path.relative_to(self.folder)) for path in paths if path.exists()}
        return sorted(name for name in names if not name.startswith("tmp/ray") and not name.endswith(".lock"))

    def processes(self) -> list[psutil.Process]:
        """Processes that this run started and that live."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("ST_HYBRID_KILLS") == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                pass
        return found

    def wait_for_processes(self, seconds: float = 60) -> int:
        """The number of processes that still live after some seconds; they are ended then."""
        until = time.monotonic() + seconds
        while (living := self.processes()) and time.monotonic() < until:
            time.sleep(0.2)
        for process in living:
            process.kill()
        return len(living)


def checksum(path: Path) -> str:
    """SHA-256 of what a file says, without dates and seconds."""
    if path.suffix == ".json":
        content = json.dumps(_timeless(json.loads(path.read_bytes())), sort_keys=True).encode()
    elif path.suffix == ".parquet":
        content = json.dumps(pq.read_table(path).to_pylist(), sort_keys=True).encode()
    elif path.suffix == ".safetensors":  # whose header has its entries in any order
        with safe_open(path, framework="numpy") as file:
            parts = [(name, file.get_tensor(name)) for name in sorted(file.keys())]
            about = json.dumps(
                [
                    sorted((file.metadata() or {}).items()),
                    [(name, *map(str, (part.dtype, part.shape))) for name, part in parts],
                ]
            )
            content = about.encode() + b"".join(part.tobytes() for _, part in parts)
    else:
        content = path.read_bytes()
    return hashlib.sha256(content).hexdigest()


def _timeless(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _timeless(value) for key, value in content.items() if key not in DIFFERS}
    return [_timeless(one) for one in content] if isinstance(content, list) else content


def kill_often(name: str, job: Job, kills: int, work: Path, seed: int, console: Console) -> dict[str, Any]:
    """Kill a command at random moments and run it again."""
    whole = Run(work, job, f"{name}-whole")
    began = time.monotonic()
    if whole.start().wait(LONGEST):
        raise RuntimeError(f"{name} failed undisturbed:\n{whole.log()}")
    seconds = time.monotonic() - began
    expected, drawn = whole.results(), random.Random(f"{name} {seed}")
    missing = [glob for glob in job.results if not any(whole.folder.glob(glob))]
    assert not missing, f"{name} wrote no {missing}"
    assert not whole.left(), whole.left()
    stages: Counter[str] = Counter()
    failures: list[str] = []
    counts: Counter[str] = Counter()
    for number in range(kills):
        moment = seconds * (number + drawn.random()) / kills
        while True:
            run = Run(work, job, name)
            process = run.start()
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                break
            moment *= 0.9  # it was faster this time
            shutil.rmtree(run.folder)
        counts["processes that ran on"] += run.wait_for_processes()
        stage = run.stage()
        stages[stage] += 1
        about = f"{name}, killed after {moment:.2f} of {seconds:.2f} s ({stage})"
        try:
            there = run.results(without=job.in_place)
            half = [path for path in there if there[path] != expected.get(path)]
        except (ValueError, SafetensorError) as error:
            half = [str(error)]
        ended = run.start().wait(LONGEST) == 0
        equal = ended and run.results() == expected
        left = run.left() if ended else []
        counts["kills"] += 1
        counts["restarts that finished"] += ended
        counts["equal results"] += equal
        counts["half-written results"] += bool(half)
        counts["left temporary files"] += bool(left)
        if not equal or half or left:
            other = {
                path for path in expected.keys() | run.results().keys() if run.results().get(path) != expected.get(path)
            }
            failures.append(f"{about}: half {half}, different {sorted(other)}, left {left}\n{run.log()[-1500:]}")
            console.print(failures[-1], markup=False)
        else:
            shutil.rmtree(run.folder)
        console.print(about, markup=False)
    return {"seconds": round(seconds, 1), **counts, "stages": dict(stages.most_common()), "failures": failures}


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each command")
    parser.add_argument("--only", action="append", help="a command; repeat it for more")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    console, found = Console(stderr=True), dict[str, Any]()
    files: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory(prefix="kills-") as folder, server(files) as address:
        work = Path(folder)
        (work / "inputs").mkdir()
        write_inputs(work / "inputs", files)
        for name, job in jobs(address).items():
            if given.only is None or name in given.only:
                found[name] = kill_often(name, job, given.kills, work, given.seed, console)
    columns = ("kills", "restarts that finished", "equal results", "half-written results", "left temporary files")
    table = Table("command", "seconds", *columns, "stages hit")
    for name, one in found.items():
        hit = ", ".join(f"{stage} {count}" for stage, count in one["stages"].items())
        table.add_row(name, *(str(one.get(key, 0)) for key in ("seconds", *columns)), hit)
    Console().print(table)
    if given.output is not None:
        write_json(given.output, {**provenance(), "seed": given.seed, "commands": found})
    if any(one["failures"] for one in found.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
