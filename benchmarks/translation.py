"""Translated tokens per second: transformers and CTranslate2, on one model of M2M100-418M's shape.

    python benchmarks/translation.py --output benchmarks/results/translation.json

The weights are random (12 + 12 layers, 1024 dimensions, 16 heads, 4096 feed-forward, 128,112 tokens), so no translation
ends early: every text gets the same number of tokens. Texts, tokenizer and decoding are those of ``st-hybrid data
translate``. Each back end runs in a process of its own, and they take turns, so that other load affects all of them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

TOKENS = 128_112
BACK_ENDS = {
    "transformers, float32": ("transformers", "float32"),
    "CTranslate2, float32": ("ctranslate2", "float32"),
    "CTranslate2, int8": ("ctranslate2", "int8"),
}


def letters() -> list[str]:
    """Some hundred letters, whose pairs are the words of the vocabulary."""
    return [chr(code) for code in range(ord("一"), ord("一") + 358)]


def build(folder: Path, layers: int) -> None:
    """Write a model with random weights, and a tokenizer in which every word of two letters is one token."""
    import torch
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "▁": 4}
    for letter in letters():
        vocabulary[letter] = len(vocabulary)
    pairs = [(first, second) for first in letters() for second in letters()]
    pairs = pairs[: TOKENS - len(vocabulary) - 3]  # two languages and the mask
    for first, second in pairs:
        vocabulary[first + second] = len(vocabulary)
    tokenizer = NllbTokenizer(vocab=vocabulary, merges=pairs, extra_special_tokens=["eng_Latn", "zho_Hans"])
    assert len(tokenizer) == TOKENS
    torch.manual_seed(0)
    config = M2M100Config(
        vocab_size=TOKENS, encoder_layers=layers, decoder_layers=layers, decoder_start_token_id=2, dropout=0.0
    )
    M2M100ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def texts(number: int, pairs: int) -> list[str]:
    """Texts of ``pairs`` pairs of letters each."""
    drawn, known = random.Random(0), letters()
    return ["".join("".join(drawn.choices(known[:300], k=2)) for _ in range(pairs)) for _ in range(number)]


def child(folder: Path, name: str, given: argparse.Namespace, beam_size: int, pipe: Any) -> None:
    """Translate a batch with one back end, and send the time that it took."""
    import torch

    from st_hybrid.translation import ModelOptions, ModelTranslator

    torch.set_num_threads(given.threads)
    backend, compute_type = BACK_ENDS[name]
    length = given.length + 1  # with the language's token
    options = ModelOptions(backend, "cpu", compute_type, beam_size=beam_size, max_length=length)
    model: Any = ModelTranslator(folder, options)
    _ = model.engine  # converted and loaded
    made: list[int] = []
    decode = model.decode
    model.decode = lambda ids: (made.append(len([number for number in ids if number > 3])), decode(ids))[1]
    batch = texts(given.batch, given.words)
    lengths = model.lengths(batch, "eng_Latn").tolist()
    model.translate(batch[:2], "eng_Latn", "zho_Hans")
    made.clear()
    began = time.perf_counter()
    translations = model.translate(batch, "eng_Latn", "zho_Hans")
    seconds = time.perf_counter() - began
    expected = [given.length + 1] * given.batch
    if made != expected:
        raise RuntimeError(f"{name} made {made} tokens, not {expected}.")
    pipe.send({"seconds": seconds, "source_tokens": sum(lengths), "texts": translations})


def main() -> None:
    """Run all back ends in turn and write medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16, help="texts of the batch")
    parser.add_argument("--words", type=int, default=32, help="pairs of letters of a text, most of them one token")
    parser.add_argument("--length", type=int, default=32, help="tokens of a translation")
    parser.add_argument("--beam-sizes", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        os.environ |= {"ST_HYBRID_CACHE": scratch, "OMP_NUM_THREADS": str(given.threads)}  # of the processes to come
        build(folder, given.layers)
        for beam_size in given.beam_sizes:
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in BACK_ENDS}
            for _ in range(given.repeats):
                for name in BACK_ENDS:
                    receiver, sender = context.Pipe(duplex=False)
                    process = context.Process(target=child, args=(folder, name, given, beam_size, sender))
                    process.start()
                    sender.close()  # so that a process that dies ends the wait
                    runs[name].append(receiver.recv())
                    process.join()
                    seen = {key: value for key, value in runs[name][-1].items() if key != "texts"}
                    print(beam_size, name, seen, flush=True)
            tokens = given.batch * given.length
            base = runs["transformers, float32"]
            same = [a == b for a, b in zip(base[0]["texts"], runs["CTranslate2, float32"][0]["texts"], strict=True)]
            results[f"beam size {beam_size}"] = {
                "translations that are the same in float32": f"{sum(same)} of {len(same)}",
                **{
                    name: {
                        "tokens_per_second": round(tokens / statistics.median(run["seconds"] for run in done), 1),
                        "seconds": round(statistics.median(run["seconds"] for run in done), 2),
                        "times transformers": round(
                            statistics.median(
                                other["seconds"] / run["seconds"] for other, run in zip(base, done, strict=True)
                            ),
                            2,
                        ),
                    }
                    for name, done in runs.items()
                },
            }
    print(json.dumps(results, indent=2))
    if given.output:
        from st_hybrid.files import write_json
        from st_hybrid.provenance import provenance

        about = provenance()
        about["versions"]["ctranslate2"] = version("ctranslate2")
        about["hardware"] = f"CPU, {given.threads} thread(s)"
        setting = {
            "shape": f"{given.layers} + {given.layers} layers, 1024 dimensions, 16 heads, 4096 feed-forward, "
            f"{TOKENS:,} tokens; random weights",
            "texts in the batch": given.batch,
            "tokens of a text, mean": round(base[0]["source_tokens"] / given.batch, 1),
            "tokens of a translation": given.length,
            "repeats": given.repeats,
        }
        report = {
            "what": "translated tokens per second; medians, and medians of the ratios of runs that took turns",
            **about,
            "setting": setting,
            "results": results,
        }
        write_json(given.output, report)


if __name__ == "__main__":
    main()
