"""``st-hybrid probe`` from the file of a corpus to the table, the picture and the sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from st_hybrid.evaluation import CorpusProbe


def test_probe_measures_a_corpus(st_hybrid: Callable[..., str], tiny_model_path: Path, tmp_path: Path) -> None:
    corpus, output, plot = tmp_path / "corpus.jsonl", tmp_path / "probe.json", tmp_path / "probe.png"
    texts = {"de": "Haus {} steht in der Straße.", "el": "Το σπίτι {} βρίσκεται στον δρόμο.", "tr": "Ev {} bu sokakta."}
    rows = [
        {"body": text.format(i), "lang": code} for code, text in texts.items() for i in range(60 if code != "tr" else 9)
    ]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"body": "", "lang": "de"}]), encoding="utf-8")
    options = ["--column", "text=body", "--output", output, "--plot", plot, "--k", "5", "--seed", "3"]
    shown = st_hybrid("probe", "--model", tiny_model_path, "--data", corpus, *options)
    content = json.loads(output.read_text(encoding="utf-8"))
    probe = CorpusProbe.from_dict(content)
    assert (probe.k, probe.passages, probe.left_out) == (5, 120, {"tr": 9})
    assert probe.preference.value == 1  # an untrained model of bytes tells scripts apart, nothing else
    assert content["sample"] == {"total": 129, "drawn": 129, "detected": 0, "seed": 3}
    assert content["data"] == [str(corpus)]
    assert content["conclusion"] == probe.conclusion
    for words in (probe.conclusion, "1 passages left out: no text", "tr (9)", "95% interval", "language preference"):
        assert words in shown
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_probe_needs_two_languages(st_hybrid: Callable[..., str], tiny_model_path: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(f"Haus {i}\n" for i in range(80)), encoding="utf-8")
    command = ["probe", "--model", tiny_model_path, "--data", corpus, "--language", "de"]
    assert "at least two languages; it has de 80" in st_hybrid(*command, status=1)
