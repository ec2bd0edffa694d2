from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import MultiVectorEncoder, SentenceTransformer, SentenceTransformerTrainingArguments
from torch import Tensor

from st_hybrid import HybridTrainer, MultilingualMultipleNegativesRankingLoss, parallel_pairs
from st_hybrid.methods.anchor import AnchorDistillationLoss, AnchorVectors

PROMPTS = {"query": "ask: ", "positive": "say: "}
TEXTS = {
    "en": ("Who lives at {}?", "Mr {} does."),
    "de": ("Wer wohnt in {}?", "Herr {} tut es."),
    "th": ("ใครอยู่ที่ {}", "คุณ {} อยู่"),
}


@pytest.fixture(scope="module")
def rows() -> Dataset:
    """Twelve groups in three languages, and two questions in Thai alone."""
    parallel = [
        {"id": f"door {number}", "language": code, "query": query.format(number), "positive": positive.format(number)}
        for number in range(12)
        for code, (query, positive) in TEXTS.items()
    ]
    alone = [{"id": f"alone {n}", "language": "th", "query": f"ใคร {n}", "positive": f"ไม่มีใคร {n}"} for n in range(2)]
    return Dataset.from_list([*parallel, *alone])


@pytest.fixture(scope="module")
def pairs(rows: Dataset) -> Dataset:
    return parallel_pairs(rows, anchor="en")


def features(model: SentenceTransformer, batch: dict[str, Any]) -> list[dict[str, Tensor]]:
    return [model.preprocess([PROMPTS[name] + text for text in batch[name]]) for name in PROMPTS]


def by_hand(
    model: SentenceTransformer, start: SentenceTransformer, batch: list[dict[str, Any]], rows: Dataset
) -> float:
    """Both sides' mean distance from the start's vectors of the English texts, one text at a time."""
    total = 0.0
    for pair in batch:
        for name, prompt in PROMPTS.items():
            group = next(row["id"] for row in rows if row[name] == pair[name])
            english = [row[name] for row in rows if row["id"] == group and row["language"] == "en"]
            if english:
                student, teacher = model.encode([prompt + pair[name]]), start.encode([prompt + english[0]])
                total += 1 - torch.cosine_similarity(torch.tensor(student), torch.tensor(teacher)).item()
    return total / len(batch)


@pytest.mark.parametrize("mini_batch_size", [None, 2])
def test_adds_the_distance_from_the_starts_vectors(
    mini_batch_size: int | None, tiny_model_path: Path, rows: Dataset, pairs: Dataset
) -> None:
    start, model = (SentenceTransformer(str(tiny_model_path), device="cpu") for _ in range(2))
    teacher = AnchorVectors.encode(start, pairs, query_prompt=PROMPTS["query"], document_prompt=PROMPTS["positive"])
    assert len(teacher) == 12
    assert teacher.query.dtype == torch.float16
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)), alpha=0.05)
    model.eval()

    numbers = [0, 4, 8, len(rows) - 1, len(rows) + 30]  # English, German, Thai; Thai alone; cross-lingual
    batch = pairs[numbers]
    labels = torch.tensor(batch["label"])
    assert labels[3, -2:].tolist() == [-1, -1]
    assert labels[4, 1] != labels[4, 2]
    options: dict[str, Any] = {"scale": 10.0, "mini_batch_size": mini_batch_size}
    loss = AnchorDistillationLoss(model, teacher, 3.0, **options)
    parts = loss(features(model, batch), labels)
    plain = MultilingualMultipleNegativesRankingLoss(model, scale=10.0)(features(model, batch), labels[:, :-2])
    expected = by_hand(model, start, [pairs[number] for number in numbers], rows)
    assert parts["loss_distillation"].item() == pytest.approx(3 * expected, abs=1e-3)
    assert parts["loss_contrastive"].item() == pytest.approx(plain.item(), abs=1e-5)

    # The gradient is that of both parts, however the loss is cached.
    torch.stack(list(parts.values())).sum().backward()
    found = model[0].model.encoder.layer[0].output.dense.weight.grad.clone()
    model.zero_grad()
    columns = [model(column)["sentence_embedding"] for column in features(model, batch)]
    AnchorDistillationLoss(model, teacher, 3.0, scale=10.0).compute_loss_from_embeddings(columns, labels).backward()
    wanted = model[0].model.encoder.layer[0].output.dense.weight.grad
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    model.zero_grad()
    plain.backward()
    assert (found - model[0].model.encoder.layer[0].output.dense.weight.grad).abs().max() > 1e-4


def test_the_start_is_at_its_own_vectors(tiny_model: SentenceTransformer, rows: Dataset, pairs: Dataset) -> None:
    teacher = AnchorVectors.encode(tiny_model, pairs, query_prompt="ask: ", document_prompt="say: ")
    tiny_model.eval()
    loss = AnchorDistillationLoss(tiny_model, teacher)
    english = [number for number in range(len(rows)) if rows[number]["language"] == "en"]
    alone = list(range(len(rows) - 2, len(rows)))
    for numbers in (english[:4], alone):
        parts = loss(features(tiny_model, pairs[numbers]), torch.tensor(pairs[numbers]["label"]))
        assert parts["loss_distillation"].item() == pytest.approx(0, abs=1e-2)
        torch.stack(list(parts.values())).sum().backward()
    with torch.no_grad():
        assert loss(features(tiny_model, pairs[alone]), torch.tensor(pairs[alone]["label"]))["loss_distillation"] == 0


@pytest.mark.parametrize("mini_batch_size", [None, 2])
def test_a_batch_without_anchor_rows_trains_as_the_plain_loss(
    mini_batch_size: int | None, tiny_model: SentenceTransformer, rows: Dataset, pairs: Dataset
) -> None:
    teacher = AnchorVectors.encode(tiny_model, pairs)
    batch = pairs[list(range(len(rows) - 2, len(rows)))]
    loss = AnchorDistillationLoss(tiny_model.eval(), teacher, mini_batch_size=mini_batch_size)
    torch.stack(list(loss(features(tiny_model, batch), torch.tensor(batch["label"])).values())).sum().backward()
    found = tiny_model[0].model.embeddings.word_embeddings.weight.grad.clone()
    tiny_model.zero_grad()
    plain = MultilingualMultipleNegativesRankingLoss(tiny_model)
    plain(features(tiny_model, batch), torch.tensor(batch["label"])[:, :-2]).backward()
    torch.testing.assert_close(found, tiny_model[0].model.embeddings.word_embeddings.weight.grad, rtol=1e-4, atol=1e-6)


def test_a_row_is_its_own_anchor_and_the_first_is_that_of_others() -> None:
    rows = Dataset.from_list(
        [
            {"id": 1, "language": "en", "query": "Which cats?", "positive": "Tabby cats."},
            {"id": 1, "language": "de", "query": "Welche Katzen?", "positive": "Getigerte."},
            {"id": 1, "language": "en", "query": "Which cats?", "positive": "Black cats."},
            {"id": 2, "language": "de", "query": "Welche Hunde?", "positive": "Alle."},
        ]
    )
    labels = parallel_pairs(rows, anchor="en")["label"]
    assert [label[-2:] for label in labels[:4]] == [[0, 0], [0, 0], [2, 2], [-1, -1]]
    german = {**rows[3], "negative_1": "Katzen.", "negative_2": "Vögel."}
    both = Dataset.from_list([german, {**german, "language": "en", "query": "Which dogs?"}])
    assert parallel_pairs(both, anchor="de")[1]["label"] == [0, 1, 1, -1, -1, 0, 0]
    assert parallel_pairs(both)[1]["label"] == [0, 1, 1, -1, -1]  # without an anchor as ever


def test_an_anchor_that_no_row_has() -> None:
    rows = Dataset.from_list([{"id": 1, "language": code, "query": "?", "positive": code} for code in ("de", "th")])
    english = Dataset.from_list([{"id": 1, "language": "en-GB", "query": "?", "positive": "."}])
    with pytest.raises(ValueError, match="anchor has no effect: no row is in 'en', only in de, th"):
        parallel_pairs(rows, anchor="en")
    parts = parallel_pairs(DatasetDict(one=rows, two=english), anchor="en")
    assert [part[0]["label"][-2:] for part in parts.values()] == [[-1, -1], [0, 0]]


def test_vectors_are_kept_and_read_again_for_the_same_model_and_texts(
    tiny_model: SentenceTransformer, rows: Dataset, pairs: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = SentenceTransformer.encode

    def counting(self: Any, inputs: list[str], **kwargs: Any) -> Any:
        encoded.append(len(inputs))
        return encode(self, inputs, **kwargs)

    monkeypatch.setattr(SentenceTransformer, "encode", counting)
    file = tmp_path / "kept" / "anchor.safetensors"
    first = AnchorVectors.encode(tiny_model, pairs, file=file)
    assert encoded == [12, 12]
    again = AnchorVectors.encode(tiny_model, pairs, file=file)
    assert encoded == [12, 12]
    assert torch.equal(first.rows, again.rows)
    assert torch.equal(first.query, again.query)
    assert torch.equal(first.positive, again.positive)
    norms = first.positive.float().norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=1e-3)
    assert [path.name for path in file.parent.iterdir()] == [file.name]

    AnchorVectors.encode(tiny_model, pairs, file=file, query_prompt="")  # another prompt
    AnchorVectors.encode(tiny_model, parallel_pairs(rows.select(range(9)), anchor="en"), file=file)  # other texts
    assert encoded[2:] == [12, 12, 3, 3]
    file.write_bytes(file.read_bytes()[:100])  # half of a file
    AnchorVectors.encode(tiny_model, pairs, file=file)
    with torch.no_grad():
        tiny_model[0].model.embeddings.word_embeddings.weight.add_(0.1)  # another model
    AnchorVectors.encode(tiny_model, pairs, file=file)
    assert len(encoded) == 10


def test_bf16_gives_nearly_the_same_vectors(tiny_model: SentenceTransformer, pairs: Dataset) -> None:
    exact = AnchorVectors.encode(tiny_model, pairs)
    rounded = AnchorVectors.encode(tiny_model, pairs, dtype="bfloat16")
    assert not torch.equal(exact.query, rounded.query)
    assert torch.cosine_similarity(exact.query.float(), rounded.query.float()).min() > 0.999


def test_distillation_aligns_and_is_logged(
    tiny_model_path: Path, rows: Dataset, pairs: Dataset, tmp_path: Path
) -> None:
    models = {}
    for weight in (None, 20.0):
        model = SentenceTransformer(str(tiny_model_path), device="cpu")
        teacher = AnchorVectors.encode(model, pairs, query_prompt="ask: ", document_prompt="say: ")
        args = SentenceTransformerTrainingArguments(
            str(tmp_path / str(weight)),
            max_steps=60,
            per_device_train_batch_size=6,
            learning_rate=2e-3,
            logging_steps=10,
            prompts=PROMPTS,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
        )
        loss = None if weight is None else AnchorDistillationLoss(model, teacher, weight)
        plain = parallel_pairs(rows)
        trainer = HybridTrainer(model, args, plain if weight is None else pairs, loss=loss)
        trainer.train()
        models[weight] = model
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    for entry in logs:
        assert entry["loss"] == pytest.approx(entry["loss_contrastive"] + entry["loss_distillation"], abs=2e-3)
        assert "loss_cross_lingual" in entry or "loss_monolingual" in entry
    assert logs[-1]["loss_distillation"] < 0.5 * logs[0]["loss_distillation"]

    german, english = ([row["query"] for row in rows if row["language"] == code][:12] for code in ("de", "en"))
    start = SentenceTransformer(str(tiny_model_path), device="cpu").encode(["ask: " + text for text in english])
    distance = {
        weight: 1 - (model.encode(["ask: " + text for text in german]) * start).sum(axis=1).mean()
        for weight, model in models.items()
    }
    assert distance[20.0] < 0.5 * distance[None]


def test_wrong_use(
    tiny_model: SentenceTransformer, rows: Dataset, pairs: Dataset, multi_vector_model_path: Path
) -> None:
    with pytest.raises(ValueError, match="make them with parallel_pairs"):
        AnchorVectors.encode(tiny_model, parallel_pairs(rows))
    few = AnchorVectors.encode(tiny_model, parallel_pairs(rows.select(range(6)), anchor="en"))
    loss = AnchorDistillationLoss(tiny_model, few)
    with pytest.raises(ValueError, match="anchor rows without a vector"):
        loss(features(tiny_model, pairs[[1, 33]]), torch.tensor(pairs[[1, 33]]["label"]))
    with pytest.raises(ValueError, match=r"needs the labels of st_hybrid.parallel_pairs\(rows, anchor"):
        loss(features(tiny_model, pairs[[1, 4]]), torch.tensor(pairs[[1, 4]]["label"])[:, :-2])
    with pytest.raises(ValueError, match=r"needs the labels"):
        loss(features(tiny_model, pairs[[1, 4]]))
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="weight must be a positive number"):
            AnchorDistillationLoss(tiny_model, few, weight)
    with pytest.raises(TypeError, match="one dense vector per text"):
        AnchorDistillationLoss(MultiVectorEncoder(str(multi_vector_model_path), device="cpu"), few)


def test_card_and_citation(tiny_model: SentenceTransformer) -> None:
    teacher = AnchorVectors(torch.arange(2), torch.zeros(2, 4).half(), torch.zeros(2, 4).half())
    loss = AnchorDistillationLoss(tiny_model, teacher, 7.0, scale=100)
    config = loss.get_config_dict()
    assert (config["weight"], config["anchor_rows"], config["scale"]) == (7.0, 2, 100)
    assert all(eprint in loss.citation for eprint in ("2605.31171", "2004.09813", "2408.10536"))
