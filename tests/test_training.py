"""The training command's library: what it writes, what it refuses, and that its options reach the trainer."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from peft import LoraConfig, get_peft_model
from rich.console import Console
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.modules import (
    LSTM,
    BoW,
    Dense,
    Pooling,
    Router,
    StaticEmbedding,
    Transformer,
    WordEmbeddings,
)
from sentence_transformers.sentence_transformer.modules.tokenizer import WhitespaceTokenizer
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor

from st_hybrid import HybridTrainer, parallel_pairs, split_groups
from st_hybrid.recipe import Recipe, Sampler
from st_hybrid.rows import ParallelRows
from st_hybrid.training import _hold_out, finetune, print_training

QUICK: dict[str, Any] = {"batch_size": 4, "max_steps": 4, "learning_rate": 1e-3, "save_steps": 2}


@pytest.fixture(scope="module")
def rows() -> Dataset:
    templates = {"en": ("Who lives at {}?", "Mr {} does."), "de": ("Wer wohnt in {}?", "Herr {} tut es.")}
    return Dataset.from_list(
        [
            {"id": number, "language": language, "query": query.format(number), "positive": positive.format(number)}
            for number in range(24)
            for language, (query, positive) in templates.items()
        ]
    )


def summary(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return loaded


def test_writes_a_model_its_card_and_a_summary(tiny_model_path: Path, rows: Dataset, tmp_path: Path) -> None:
    recipe = Recipe(held_out=6, scale=50.0, alpha=0.25, **QUICK)
    trained = finetune(tiny_model_path, {"door-plates": rows}, tmp_path / "out", recipe)

    start, written = (SentenceTransformer(str(path), device="cpu") for path in (tiny_model_path, tmp_path / "out"))
    assert abs(start.encode("Mr 3 does.") - written.encode("Mr 3 does.")).max() > 1e-4
    assert abs(trained.encode("Mr 3 does.") - written.encode("Mr 3 does.")).max() < 1e-6

    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for part in (
        "door-plates",
        "sampler `hybrid` (alpha 0.25, uniform languages)",
        "scale 50",
        "MultilingualMultipleNegativesRankingLoss",
        "2408.10536",
        "multilingual_map",
    ):
        assert part in card, part

    run = summary(tmp_path / "out")
    assert run["steps"] == 4
    assert run["settings"]["alpha"] == 0.25
    assert {"st-hybrid", "torch"} <= set(run["versions"])
    measured = [entry for entry in run["log"] if "eval_held-out_multilingual_map" in entry]
    assert [entry["step"] for entry in measured] == [2, 4]


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_samplers_draw_what_their_names_say(
    sampler: Sampler, tiny_model_path: Path, rows: Dataset, tmp_path: Path
) -> None:
    recipe = Recipe(sampler=sampler, **{**QUICK, "max_steps": 10})
    finetune(tiny_model_path, rows, tmp_path / "out", recipe)
    series = {key for entry in summary(tmp_path / "out")["log"] for key in entry if key.startswith("loss_")}
    wanted = {
        "hybrid": {"loss_monolingual", "loss_cross_lingual"},
        "x-x-mono": {"loss_monolingual"},
        "x-x": {"loss_monolingual"},
        "x-y": {"loss_cross_lingual"},
    }
    assert sampler == "mixture" or series == wanted[sampler]


def test_cross_lingual_batches_of_the_same_documents(tiny_model_path: Path, rows: Dataset, tmp_path: Path) -> None:
    harder = {**QUICK, "same_document": True}
    with pytest.raises(ValueError, match="same_document has no effect: no rows have a column 'document'"):
        finetune(tiny_model_path, rows, tmp_path / "out", Recipe(**harder))
    sentences = rows.map(lambda row: {"query": row["positive"], "document": f"page {row['id'] // 4}"})
    finetune(
        tiny_model_path,
        {"rows": rows, "text": sentences},
        tmp_path / "out",
        Recipe(**{**harder, "max_steps": 10}, held_out=4),
    )
    series = {key for entry in summary(tmp_path / "out")["log"] for key in entry if key.startswith("loss_")}
    assert series == {"loss_monolingual", "loss_cross_lingual"}


def test_options_reach_the_model(tiny_model_path: Path, rows: Dataset, tmp_path: Path) -> None:
    recipe = Recipe(freeze_embeddings=True, max_length=16, mini_batch_size=2, query_prompt="ask: ", **QUICK)
    trained = finetune(tiny_model_path, rows, tmp_path / "out", recipe)
    start = SentenceTransformer(str(tiny_model_path), device="cpu")
    assert trained.transformers_model is not None
    assert start.transformers_model is not None
    before, after = (
        model.transformers_model.get_input_embeddings().weight
        for model in (start, trained)  # type: ignore[union-attr]
    )
    assert torch.equal(before, after)
    assert trained.max_seq_length == start.max_seq_length  # cut in training only
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "'query': 'ask: '" in card
    assert '"mini_batch_size": 2' in card


def test_hard_negatives_may_follow_the_query(tiny_model_path: Path, rows: Dataset, tmp_path: Path) -> None:
    negative = {"en": "Nobody does.", "de": "Da wohnt niemand."}
    mined = rows.add_column("negative", [negative[code] for code in rows["language"]])
    first = {}
    for side in (None, "positive", "query"):
        recipe = Recipe(sampler="x-y", negatives_follow=side, **QUICK)  # type: ignore[arg-type]
        finetune(tiny_model_path, mined, tmp_path / str(side), recipe)
        logged = summary(tmp_path / str(side))
        first[side] = logged["log"][0]["loss"]
        assert logged["settings"]["negatives_follow"] == side
    assert first[None] == first["positive"] != first["query"]
    with pytest.raises(ValueError, match="negatives_follow has no effect: the rows have no hard negatives"):
        finetune(tiny_model_path, rows, tmp_path / "none", Recipe(negatives_follow="query", **QUICK))


@pytest.mark.parametrize(
    ("dtype", "cpu", "expected"),
    [(None, True, "bfloat16"), (None, False, "float32"), ("float32", True, "float32"), ("bfloat16", True, "bfloat16")],
)
def test_trains_in_the_type_that_the_hardware_has_or_that_is_asked_for(
    dtype: Any,
    cpu: bool,
    expected: str,
    tiny_model_path: Path,
    rows: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": cpu}, raising=False)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda *_, **__: None)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    computed = set()

    def note(layer: Any, given: Any, output: Any) -> None:
        if isinstance(layer, torch.nn.Linear) and layer.training:
            computed.add(output.dtype)

    hook = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        trained = finetune(tiny_model_path, rows, tmp_path / "out", Recipe(dtype=dtype, **QUICK))
        assert computed == {getattr(torch, expected)}
        vectors = trained.encode(rows["query"][:8])
    finally:
        hook.remove()
    written = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert {weight.dtype for weight in written.parameters()} == {torch.float32}
    assert np.array_equal(vectors, written.encode(rows["query"][:8]))  # in float32: the training is over
    assert summary(tmp_path / "out")["settings"]["dtype"] == expected
    other = "bfloat16" if expected == "float32" else "float32"
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True})
    with pytest.raises(ValueError, match=f"other settings: dtype was '{expected}' and is '{other}'"):
        finetune(tiny_model_path, rows, tmp_path / "out", Recipe(dtype=other, **QUICK), resume=True)


def test_hardware_without_a_type_is_refused_before_anything_is_written(
    tiny_model_path: Path, rows: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", dict, raising=False)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda *_, **__: None)
    for dtype in ("bfloat16", "float16"):
        with pytest.raises(ValueError, match=r"[Ll]eave it out"):
            finetune(tiny_model_path, rows, tmp_path / "out", Recipe(dtype=dtype, **QUICK))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("has_bfloat16")
def test_a_static_embedding_is_trained(rows: Dataset, tmp_path: Path) -> None:
    """It has no transformer, and no length that could be set."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, **{str(n): n + 1 for n in range(24)}}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[0-9]+"), "isolated")
    start = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu")
    start.save_pretrained(str(tmp_path / "start"))
    recipe = Recipe(held_out=6, **{**QUICK, "learning_rate": 0.1})
    trained = finetune(tmp_path / "start", rows, tmp_path / "out", recipe)
    assert abs(start.encode(rows["query"][:]) - trained.encode(rows["query"][:])).max() > 0.01
    assert "## Hybrid batch training" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for option, value in (("max_length", 1), ("freeze_embeddings", True), ("dtype", "bfloat16")):
        with pytest.raises(ValueError, match=f"{option} has no effect: .*start has no transformer"):
            finetune(tmp_path / "start", rows, tmp_path / option, Recipe(**{option: value}, **QUICK))


@pytest.fixture(params=["two encoders", "word vectors for queries", "words", "bag of words", "texts and pictures"])
def other_model(request: pytest.FixtureRequest, tiny_model_path: Path, tmp_path: Path) -> Path:
    """Folder of a model whose first module is not one transformer for texts."""

    def encoder() -> list[Any]:
        return list(SentenceTransformer(str(tiny_model_path), device="cpu"))[:2]

    numbers = [*map(str, range(24)), "Mr", "Herr"]
    tokens = WhitespaceTokenizer(numbers)
    if request.param == "two encoders":
        modules = [Router.for_query_document(encoder(), encoder())]
    elif request.param == "word vectors for queries":
        words = StaticEmbedding(encoder()[0].tokenizer.backend_tokenizer, embedding_dim=32)
        modules = [Router.for_query_document([words], encoder())]
    elif request.param == "words":
        vectors = np.random.default_rng(0).normal(size=(len(numbers), 16))
        modules = [WordEmbeddings(tokens, vectors, update_embeddings=True), LSTM(16, 8), Pooling(16)]
    elif request.param == "bag of words":
        modules = [BoW(numbers), Dense(len(numbers), 16)]
    else:
        layers: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
        layers |= {"num_hidden_layers": 2, "projection_dim": 16}
        text = {"vocab_size": 260, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0, **layers}
        vision = {"image_size": 32, "patch_size": 16, **layers}
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(
            tmp_path / "clip"
        )
        images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
        CLIPProcessor(images, encoder()[0].tokenizer).save_pretrained(tmp_path / "clip")
        modules = [Transformer(str(tmp_path / "clip"))]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(tmp_path / "start"))
    return tmp_path / "start"


def test_other_kinds_of_models_are_trained(other_model: Path, rows: Dataset, tmp_path: Path) -> None:
    recipe = Recipe(held_out=6, query_prompt="", **{**QUICK, "learning_rate": 0.05})
    trained = finetune(other_model, rows, tmp_path / "out", recipe)
    start, written = (SentenceTransformer(str(path), device="cpu") for path in (other_model, tmp_path / "out"))
    for encode in ("encode_query", "encode_document"):
        texts = rows["query"][:8]
        before, after, again = (getattr(model, encode)(texts) for model in (start, written, trained))
        assert abs(before - after).max() > 1e-3
        assert abs(after - again).max() < 1e-5
    assert "## Hybrid batch training" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_a_checkpoint_in_half_precision_is_trained_in_float32(
    kind: torch.dtype, tiny_model: SentenceTransformer, rows: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_model.to(kind).save_pretrained(str(tmp_path / "half"))
    assert next(SentenceTransformer(str(tmp_path / "half")).parameters()).dtype == kind
    tiny_model.float().save_pretrained(str(tmp_path / "same"))  # the same values in float32

    recipe = Recipe(**{**QUICK, "learning_rate": 3e-5, "max_steps": 20, "save_steps": 20})
    assert "is stored in" not in caplog.text
    trained = [finetune(tmp_path / name, rows, tmp_path / f"{name}-out", recipe) for name in ("same", "half")]
    assert f"stored in {str(kind)[6:]}. It is trained and saved in float32" in caplog.text
    starts = dict(tiny_model.named_parameters())
    for name, weight in trained[0].named_parameters():
        other = trained[1].get_parameter(name)
        assert other.dtype == torch.float32
        assert torch.equal(weight.cpu(), other.cpu())
    changed = [(trained[1].get_parameter(name).cpu() != weight).float().mean() for name, weight in starts.items()]
    assert sum(share > 0.9 for share in changed) > len(changed) / 2
    assert next(SentenceTransformer(str(tmp_path / "half-out")).parameters()).dtype == torch.float32


@pytest.mark.parametrize("base", [torch.float32, torch.bfloat16])
def test_adapters_are_trained_alone_and_merged(
    base: torch.dtype, tiny_model: SentenceTransformer, rows: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model.to(base)
    start = {name: weight.clone() for name, weight in model.state_dict().items()}
    adapted = get_peft_model(model.transformers_model, LoraConfig(r=4, target_modules=["query", "value"]))
    args = SentenceTransformerTrainingArguments(
        str(tmp_path), max_steps=4, per_device_train_batch_size=4, learning_rate=0.05, save_strategy="no", use_cpu=True
    )
    HybridTrainer(model=model, args=args, train_dataset=parallel_pairs(rows)).train()
    adapted.merge_and_unload()
    end = model.state_dict()
    assert end.keys() == start.keys()
    changed = {name for name, weight in start.items() if not torch.equal(weight, end[name])}
    assert changed == {name for name in start if name.endswith(("self.query.weight", "self.value.weight"))}
    assert "is stored in" not in caplog.text  # the frozen weights stay as they are
    assert end[min(changed)].dtype == base


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 128}, "max_length has no effect: .* cuts texts at 128 tokens anyway"),
        ({"partners": 1}, "partners has no effect: no id has more than 2 languages"),
        ({"max_steps": None, "save_steps": 13}, "save_steps has no effect: the training has only 12 steps"),
        ({"held_out": 6, "patience": 2}, "patience has no effect: the training has only 2 evaluations"),
        ({"language_sampling": "proportional", "alpha": 1.0}, "language_sampling has no effect: .* in one language"),
    ],
)
def test_options_without_effect_on_the_model_or_the_rows(
    options: dict[str, Any], message: str, tiny_model_path: Path, rows: Dataset, tmp_path: Path
) -> None:
    if "language_sampling" in options:
        rows = rows.filter(lambda row: row["language"] == "de")
    with pytest.raises(ValueError, match=message):
        finetune(tiny_model_path, rows, tmp_path / "out", Recipe(**{**QUICK, **options}))


def test_texts_are_cut_in_training_only(tiny_model_path: Path, rows: Dataset, tmp_path: Path) -> None:
    """With two tokens left, [CLS] and [SEP], no other token has a gradient."""
    start = SentenceTransformer(str(tiny_model_path), device="cpu")
    trained = finetune(tiny_model_path, rows, tmp_path / "out", Recipe(max_length=2, weight_decay=0.0, **QUICK))
    before, after = (
        model.transformers_model.get_input_embeddings().weight.cpu()
        for model in (start, trained)  # type: ignore[union-attr]
    )
    assert (before != after).any(dim=1).nonzero().flatten().tolist() == [2, 3]
    assert trained.max_seq_length == 128


def test_the_model_is_saved_before_the_card_is_completed(
    tiny_model_path: Path, rows: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("no card today")

    monkeypatch.setattr("st_hybrid.training._complete_card", fail)
    with pytest.raises(RuntimeError, match="no card today"):
        finetune(tiny_model_path, rows, tmp_path / "out", Recipe(**QUICK))
    SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert summary(tmp_path / "out")["steps"] == 4


def test_an_anchor_and_a_merge_end_in_the_model_its_card_and_the_summary(
    tiny_model_path: Path, rows: Dataset, tmp_path: Path
) -> None:
    texts = {"th": ("ใคร {}", "คุณ {}"), "fr": ("Qui habite au {} ?", "M. {}.")}
    other = Dataset.from_list(
        [
            {"id": n, "language": code, "query": query.format(n), "positive": positive.format(n)}
            for n in range(12)
            for code, (query, positive) in texts.items()
        ]
    )
    recipe = Recipe(anchor="en", anchor_weight=3.0, merge=0.25, held_out=6, max_length=16, **QUICK)
    finetune(tiny_model_path, {"doors": rows, "others": other}, tmp_path / "out", recipe)
    kept = sorted(path.name for path in (tmp_path / "out" / "checkpoints").glob("*.safetensors"))
    assert kept == ["anchor-0.safetensors"]  # nothing is in English in the other set
    run = summary(tmp_path / "out")
    assert run["settings"]["merge"] == 0.25
    assert any(entry.get("loss_distillation", 0) > 0 for entry in run["log"])

    start, written, best = (
        SentenceTransformer(str(path), device="cpu").state_dict()
        for path in (tiny_model_path, tmp_path / "out", best_checkpoint(tmp_path / "out"))
    )
    for name, weight in written.items():
        torch.testing.assert_close(weight, 0.25 * start[name] + 0.75 * best[name], rtol=0, atol=1e-6)
    measured = run["merged"]["held-out_multilingual_map"]
    scores = [entry["eval_held-out_multilingual_map"] for entry in run["log"] if "eval_held-out_rank_distance" in entry]
    assert 0 < measured <= 1
    assert len(scores) == 2

    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "0.25 of the start's and 0.75 of the trained ones" in card
    assert "translation in `en` (`AnchorDistillationLoss`, weight 3)" in card
    console = Console(record=True, width=160, file=io.StringIO())
    print_training(tmp_path / "out", console)
    printed = console.export_text()
    assert "merged" in printed
    assert "distillation" in printed

    with pytest.raises(ValueError, match="anchor has no effect: no row is in 'ja', only in de, en"):
        finetune(tiny_model_path, rows, tmp_path / "none", Recipe(anchor="ja", **QUICK))


def best_checkpoint(folder: Path) -> Path:
    checkpoints = folder / "checkpoints"
    state = json.loads((checkpoints / "checkpoint-4" / "trainer_state.json").read_text(encoding="utf-8"))
    return checkpoints / Path(state["best_model_checkpoint"]).name


def test_a_resumed_run_reads_the_anchor_vectors_and_ends_alike(
    tiny_model_path: Path, rows: Dataset, tmp_path: Path
) -> None:
    recipe = Recipe(anchor="en", merge=0.5, mini_batch_size=2, **QUICK)
    finetune(tiny_model_path, rows, tmp_path / "out", recipe)
    whole = SentenceTransformer(str(tmp_path / "out"), device="cpu").state_dict()

    for path in (tmp_path / "out" / "training.json", tmp_path / "out" / "model.safetensors"):
        path.unlink()
    shutil.rmtree(tmp_path / "out" / "checkpoints" / "checkpoint-4")
    written = (tmp_path / "out" / "checkpoints" / "anchor-0.safetensors").stat().st_mtime_ns
    finetune(tiny_model_path, rows, tmp_path / "out", recipe, resume=True)
    assert summary(tmp_path / "out")["resumed_from"] == "checkpoint-2"
    assert (tmp_path / "out" / "checkpoints" / "anchor-0.safetensors").stat().st_mtime_ns == written
    again = SentenceTransformer(str(tmp_path / "out"), device="cpu").state_dict()
    for name, weight in whole.items():
        assert torch.equal(weight, again[name]), name


def test_a_run_is_printed(tiny_model_path: Path, rows: Dataset, tmp_path: Path) -> None:
    for name, recipe in {"plain": Recipe(**QUICK), "held out": Recipe(held_out=6, **QUICK)}.items():
        finetune(tiny_model_path, rows, tmp_path / name, recipe)
        console = Console(record=True, width=120, file=io.StringIO())
        print_training(tmp_path / name, console)
        printed = console.export_text()
        assert "4 steps in" in printed
        assert ("map" in printed) == ("distance" in printed) == (name == "held out")


def test_early_stopping_keeps_the_best_checkpoint(tiny_model_path: Path, rows: Dataset, tmp_path: Path) -> None:
    recipe = Recipe(held_out=8, patience=2, **{**QUICK, "max_steps": 200, "learning_rate": 0.5})
    finetune(tiny_model_path, rows, tmp_path / "out", recipe)
    run = summary(tmp_path / "out")
    scores = {
        entry["step"]: entry["eval_held-out_multilingual_map"]
        for entry in run["log"]
        if "eval_held-out_multilingual_map" in entry
    }
    assert run["steps"] < 200
    best = max(scores, key=lambda step: (scores[step], -step))
    assert run["steps"] == best + 2 * 2


def test_a_card_that_sentence_transformers_cannot_write(
    tiny_model_path: Path, rows: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentence_transformers.base.model.generate_model_card", lambda model: 1 / 0)
    finetune(tiny_model_path, rows, tmp_path / "out", Recipe(**QUICK))
    assert "sampler `hybrid`" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_a_folder_with_a_run_is_not_overwritten(tiny_model_path: Path, rows: Dataset, tmp_path: Path) -> None:
    recipe = Recipe(**QUICK)
    finetune(tiny_model_path, rows, tmp_path / "out", recipe)
    with pytest.raises(FileExistsError, match="--resume"):
        finetune(tiny_model_path, rows, tmp_path / "out", recipe)
    with pytest.raises(ValueError, match="seed was 0 and is 1"):
        finetune(tiny_model_path, rows, tmp_path / "out", Recipe(seed=1, **QUICK), resume=True)


def test_what_always_resumes_may_also_begin_and_end_a_run(tiny_model_path: Path, rows: Dataset, tmp_path: Path) -> None:
    """As a scheduler does, which starts the same command again and again."""
    for _ in range(2):
        finetune(tiny_model_path, rows, tmp_path / "out", Recipe(**QUICK), resume=True)
    once = finetune(tiny_model_path, rows, tmp_path / "once", Recipe(**QUICK))
    again = SentenceTransformer(str(tmp_path / "out"))
    for (name, expected), (_, found) in zip(once.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(expected.cpu(), found.cpu()), name
    assert summary(tmp_path / "out")["steps"] == summary(tmp_path / "once")["steps"]


def test_several_sets_of_rows_are_trained_on_and_held_out_together(
    tiny_model_path: Path, rows: Dataset, tmp_path: Path
) -> None:
    """A held-out passage is in neither set, though both number their groups alike."""
    # Half of the second set's passages are also the first's, under other questions.
    french = {"query": "Qui habite au {} ?", "positive": "Mr {} does."}
    other = Dataset.from_list(
        [{"id": n, "language": "fr", **{key: text.format(n) for key, text in french.items()}} for n in range(12, 36)]
        + [{"id": n, "language": "it", "query": f"Chi abita al {n}?", "positive": f"Il {n}."} for n in range(12, 36)]
    )
    sets = {"doors": rows, "user/more": other.add_column("negative", ["Nobody."] * 48)}
    recipe = Recipe(held_out=10, one_set_per_batch=True, **{**QUICK, "max_steps": 12})
    finetune(tiny_model_path, DatasetDict(sets), tmp_path / "out", recipe)

    run = summary(tmp_path / "out")
    assert run["steps"] == 12
    assert run["settings"]["data"] == "doors, user/more"
    assert {entry["step"] for entry in run["log"] if "eval_held-out_multilingual_map" in entry}
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "of doors, user/more: sampler" in card
    for language in ("de", "en", "fr", "it"):
        assert f"- {language}\n" in card

    with pytest.raises(ValueError, match="user/more has hard negatives in 'negative' and doors has none"):
        finetune(tiny_model_path, sets, tmp_path / "pool", replace(recipe, one_set_per_batch=False))
    with pytest.raises(ValueError, match="one_set_per_batch has no effect: there is one data set"):
        finetune(tiny_model_path, rows, tmp_path / "pool", recipe)
    pool = replace(recipe, one_set_per_batch=False)
    finetune(tiny_model_path, {"doors": rows, "user/more": other}, tmp_path / "pool", pool)
    assert summary(tmp_path / "pool")["settings"]["data"] == "doors, user/more"

    left, held = _hold_out({name: ParallelRows(part) for name, part in sets.items()}, 10, seed=0)
    trained = [row for part in left.values() for row in part]
    assert {row["positive"] for row in held}.isdisjoint(row["positive"] for row in trained)
    assert sum(map(len, left.values())) + len(held) == len(rows) + len(other)
    assert all(len(part) < len(sets[name]) for name, part in left.items())
    # In one set the draw is that of split_groups.
    alone, held = _hold_out({"doors": ParallelRows(rows)}, 6, seed=5)
    assert alone["doors"].to_list() == split_groups(rows, 6, seed=5)["train"].to_list()
    assert held["query"][:] == split_groups(rows, 6, seed=5)["test"]["query"][:]


def test_a_resumed_run_needs_the_same_source(tiny_model_path: Path, rows: Dataset, tmp_path: Path) -> None:
    finetune(tiny_model_path, rows, tmp_path / "out", Recipe(**QUICK), source={"columns": {"query": "question"}})
    with pytest.raises(ValueError, match=r"source was .*question.* and is .*heading"):
        finetune(
            tiny_model_path,
            rows,
            tmp_path / "out",
            Recipe(**QUICK),
            source={"columns": {"query": "heading"}},
            resume=True,
        )
