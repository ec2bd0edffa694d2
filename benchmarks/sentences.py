"""How well sentencex finds the sentences of XQuAD-R: its boundaries beside those that the files have.

    python benchmarks/sentences.py --data-dir DIR --output benchmarks/results/sentences.json

A boundary is the beginning of a sentence that is not its paragraph's first. Precision is the share of found boundaries
that the file has, recall the share of its boundaries that are found, both over all paragraphs of a language.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path

from st_hybrid.evaluation.squad import squad_paragraphs
from st_hybrid.files import write_json
from st_hybrid.provenance import provenance
from st_hybrid.sentences import sentence_spans


def measure(path: Path) -> dict[str, float]:
    """Precision, recall and F1 of one language."""
    common = found = known = 0
    for paragraph in squad_paragraphs(path, path.stem):
        assert paragraph.breaks is not None
        own = {start for start, _ in paragraph.breaks[1:]}
        ours = {start for start, _ in sentence_spans(path.stem, paragraph.text)[1:]}
        common, found, known = common + len(own & ours), found + len(ours), known + len(own)
    return {
        "boundaries": known,
        "precision": round(common / found, 4),
        "recall": round(common / known, 4),
        "f1": round(2 * common / (found + known), 4),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder that holds xquad-r/<lang>.json")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    about = provenance()
    about["versions"]["sentencex"] = version("sentencex")
    languages = {path.stem: measure(path) for path in sorted((given.data_dir / "xquad-r").glob("*.json"))}
    report = {"what": "sentencex against XQuAD-R's sentence breaks", **about, "languages": languages}
    print(json.dumps(report, indent=2))
    if given.output:
        write_json(given.output, report)
