from __future__ import annotations

import inspect
import itertools
import os
import socket
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from sentence_transformers.util import dot_score
from tokenizers import Tokenizer, models
from torch import Tensor, nn

from st_hybrid import MultilingualMultipleNegativesRankingLoss

ALL_DIRECTIONS = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")


class GivenEmbeddings(nn.Module):
    """A model whose features are the embeddings."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return features


def given_embeddings() -> Any:
    return nn.Sequential(GivenEmbeddings())


def make_columns(
    texts: int, batch: int, dim: int = 4, seed: int = 0, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, dim, generator=generator, dtype=dtype).requires_grad_() for _ in range(texts)]


def make_labels(clusters: list[int], *negatives: list[int]) -> Tensor:
    return torch.tensor(
        [[cluster, 0, 1, *of_negatives] for cluster, *of_negatives in zip(clusters, *negatives, strict=True)]
    )


def value_and_gradients(loss: nn.Module, columns: list[Tensor], labels: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    for column in columns:
        column.grad = None
    value = loss([{"sentence_embedding": column} for column in columns], labels)
    value.backward()
    return value.detach(), [column.grad.clone() for column in columns]  # type: ignore[union-attr]


def brute_force(
    columns: list[Tensor],
    clusters: list[int],
    scale: float = 20.0,
    directions: tuple[str, ...] = ("query_to_doc",),
    partition_mode: str = "joint",
    hardness_mode: str | None = None,
    hardness_strength: float = 0.0,
    negatives: Sequence[list[int]] = (),
    **cache: Any,
) -> Tensor:
    """InfoNCE one score at a time, as the papers define it, with what is of a query's cluster left out.

    ``negatives`` holds the cluster of each hard negative; without it they are of their pair's, and are its own.
    """
    queries, *docs = [nn.functional.normalize(column, dim=1) for column in columns]

    def may(i: int, number: int, j: int) -> bool:
        """Whether pair i takes pair j's document for a negative."""
        if number == 0 or not negatives:
            return clusters[i] != clusters[j] or (i == j and number > 0)
        return clusters[i] != negatives[number - 1][j]

    size, total = len(queries), torch.zeros((), dtype=queries.dtype)
    for i in range(size):
        others = [j for j in range(size) if clusters[j] != clusters[i]]
        logits: dict[str, list[Tensor]] = {direction: [] for direction in directions}
        for number, doc in enumerate(docs):
            for j in range(size):
                if not may(i, number, j) and not (i == j and number == 0):
                    continue
                similarity = queries[i] @ doc[j]
                weighed = {
                    None: False,
                    "in_batch_negatives": i != j,
                    "hard_negatives": i == j and number > 0,
                    "all_negatives": i != j or number > 0,
                }[hardness_mode]
                penalty = hardness_strength * similarity.detach() if weighed else 0.0
                logits["query_to_doc"].append(scale * similarity + penalty)
        if "query_to_query" in directions:
            logits["query_to_query"] = [scale * queries[i] @ queries[j] for j in others]
        if "doc_to_query" in directions:
            logits["doc_to_query"] = [scale * docs[0][i] @ queries[j] for j in [i, *others]]
        if "doc_to_doc" in directions:
            logits["doc_to_doc"] = [
                scale * docs[0][i] @ doc[j]
                for number, doc in enumerate(docs)
                for j in range(size)
                if i != j and may(i, number, j)
            ]
        if partition_mode == "joint":
            log_z = torch.stack(list(itertools.chain(*logits.values()))).logsumexp(dim=0)
        else:
            log_z = torch.stack([torch.stack(scores).logsumexp(dim=0) for scores in logits.values()]).mean()
        total = total + log_z - scale * queries[i] @ docs[0][i]
    return total / size


@st.composite
def loss_options(draw: st.DrawFn) -> dict[str, Any]:
    partition_mode = draw(st.sampled_from(["joint", "per_direction"]))
    more = ["doc_to_query"] if partition_mode == "per_direction" else list(ALL_DIRECTIONS[1:])
    options = {
        "scale": draw(st.sampled_from([1.0, 20.0])),
        "directions": ("query_to_doc", *draw(st.lists(st.sampled_from(more), unique=True))),
        "partition_mode": partition_mode,
        "hardness_mode": draw(st.sampled_from([None, "in_batch_negatives", "hard_negatives", "all_negatives"])),
        "hardness_strength": draw(st.sampled_from([0.5, 9.0])),
    }
    mini_batch_size = draw(st.sampled_from([None, 1, 2, 5]))
    return options if mini_batch_size is None else {**options, "mini_batch_size": mini_batch_size}


@settings(deadline=None, max_examples=80)
@given(
    options=loss_options(),
    texts=st.integers(2, 4),
    batch=st.integers(1, 7),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_equals_the_wrapped_loss_where_no_cluster_is_shared(
    options: dict[str, Any], texts: int, batch: int, seed: int, dtype: torch.dtype
) -> None:
    wrapped = CachedMultipleNegativesRankingLoss if "mini_batch_size" in options else MultipleNegativesRankingLoss
    columns = make_columns(texts, batch, seed=seed, dtype=dtype)
    expected, expected_gradients = value_and_gradients(wrapped(given_embeddings(), **options), columns, None)
    loss = MultilingualMultipleNegativesRankingLoss(given_embeddings(), **options)
    value, gradients = value_and_gradients(loss, columns, make_labels(list(range(batch))))
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    for found, wanted in zip([value, *gradients], [expected, *expected_gradients], strict=True):
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


@settings(deadline=None, max_examples=80)
@given(
    options=loss_options(),
    texts=st.integers(2, 4),
    clusters=st.lists(st.integers(0, 3), min_size=1, max_size=7),
    seed=st.integers(0, 1000),
)
def test_pairs_of_a_cluster_are_never_each_others_negatives(
    options: dict[str, Any], texts: int, clusters: list[int], seed: int
) -> None:
    columns = make_columns(texts, len(clusters), seed=seed)
    expected = brute_force(columns, clusters, **options)
    expected_gradients = torch.autograd.grad(expected, columns, allow_unused=True)
    loss = MultilingualMultipleNegativesRankingLoss(given_embeddings(), **options)
    value, gradients = value_and_gradients(loss, columns, make_labels(clusters))
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-9)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-9)


@settings(deadline=None, max_examples=80)
@given(
    options=loss_options(),
    clusters=st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 5), st.integers(-1, 5)), min_size=1, max_size=7),
    seed=st.integers(0, 1000),
)
def test_hard_negatives_leave_the_queries_that_they_answer(
    options: dict[str, Any], clusters: list[tuple[int, int, int]], seed: int
) -> None:
    own, *negatives = map(list, zip(*clusters, strict=True))
    columns = make_columns(4, len(own), seed=seed)
    expected = brute_force(columns, own, **options, negatives=negatives)
    expected_gradients = torch.autograd.grad(expected, columns, materialize_grads=True)
    loss = MultilingualMultipleNegativesRankingLoss(given_embeddings(), **options)
    value, gradients = value_and_gradients(loss, columns, make_labels(own, *negatives))
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-9)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-9)


def test_hard_negatives_that_answer_no_query_leave_the_wrapped_loss_as_it_is() -> None:
    columns = make_columns(3, 4)
    loss = MultilingualMultipleNegativesRankingLoss(given_embeddings())
    value, _ = value_and_gradients(loss, columns, make_labels([0, 1, 2, 3], [4, 5, 4, -1]))
    assert torch.equal(value, value_and_gradients(MultipleNegativesRankingLoss(given_embeddings()), columns, None)[0])
    value, _ = value_and_gradients(loss, columns, make_labels([0, 1, 2, 3], [4, 5, 0, -1]))
    assert value < value_and_gradients(MultipleNegativesRankingLoss(given_embeddings()), columns, None)[0]


def test_labels_of_other_negatives() -> None:
    loss = MultilingualMultipleNegativesRankingLoss(given_embeddings())
    with pytest.raises(ValueError, match="clusters of 2 negatives, but the batch has 1"):
        value_and_gradients(loss, make_columns(3, 2), make_labels([0, 1], [2, 3], [4, 5]))


@pytest.mark.parametrize("mini_batch_size", [None, 2])
def test_a_pairs_own_hard_negatives_stay(mini_batch_size: int | None) -> None:
    """Where nothing says whose passages they are."""
    columns = make_columns(3, 4)
    loss = MultilingualMultipleNegativesRankingLoss(given_embeddings(), mini_batch_size=mini_batch_size)
    value, gradients = value_and_gradients(loss, columns, make_labels([7, 7, 7, 7]))
    query, positive, negative = columns
    scores = 20 * torch.stack([torch.cosine_similarity(query, doc) for doc in (positive, negative)], dim=1)
    torch.testing.assert_close(value, nn.functional.cross_entropy(scores, torch.zeros(4).long()).detach())
    assert all(gradient.abs().sum() > 0 and gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("mini_batch_size", [None, 64])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_neighbouring_large_cluster_numbers_differ(dtype: torch.dtype, mini_batch_size: int | None) -> None:
    columns = make_columns(2, 300, dtype=dtype)
    loss = MultilingualMultipleNegativesRankingLoss(given_embeddings(), mini_batch_size=mini_batch_size)
    small, _ = value_and_gradients(loss, columns, make_labels([i // 2 for i in range(300)]))
    large, _ = value_and_gradients(loss, columns, make_labels([2**40 + i // 2 for i in range(300)]))
    assert torch.equal(small, large)


@pytest.mark.parametrize("mini_batch_size", [None, 64])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype, mini_batch_size: int | None) -> None:
    columns = make_columns(2, 300, dim=16, dtype=dtype)
    labels = make_labels([i // 2 for i in range(300)])
    loss = MultilingualMultipleNegativesRankingLoss(given_embeddings(), mini_batch_size=mini_batch_size)
    value, gradients = value_and_gradients(loss, columns, labels)
    expected, _ = value_and_gradients(loss, [column.detach().double().requires_grad_() for column in columns], labels)
    assert value.item() == pytest.approx(expected.item(), rel=0.02)
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_similarity_function_with_parameters_is_used_and_trained() -> None:
    class Bilinear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.eye(4, dtype=torch.float64))

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return torch.tanh(a @ self.weight @ b.T)

    similarity = Bilinear()
    loss = MultilingualMultipleNegativesRankingLoss(given_embeddings(), similarity_fct=similarity)
    assert [parameter is similarity.weight for parameter in loss.parameters()] == [True]
    for clusters in ([0, 1, 2], [0, 0, 1]):
        similarity.weight.grad = None
        value_and_gradients(loss, make_columns(2, 3), make_labels(clusters))
        assert similarity.weight.grad is not None
        assert similarity.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("labels", [None, torch.tensor([0.5, 1.0]), torch.tensor([0, 1]), torch.zeros(2, 2).long()])
def test_missing_labels(labels: Tensor | None) -> None:
    columns = make_columns(2, 2)
    with pytest.raises(ValueError, match=r"parallel_pairs\(rows\), or pass missing_labels='ignore'"):
        value_and_gradients(MultilingualMultipleNegativesRankingLoss(given_embeddings()), columns, labels)
    ignoring = MultilingualMultipleNegativesRankingLoss(given_embeddings(), missing_labels="ignore")
    plain = MultipleNegativesRankingLoss(given_embeddings())
    value, gradients = value_and_gradients(ignoring, columns, labels)
    expected, expected_gradients = value_and_gradients(plain, columns, None)
    assert torch.equal(value, expected)
    assert all(map(torch.equal, gradients, expected_gradients))


def test_the_missing_labels_error_says_what_came() -> None:
    loss = MultilingualMultipleNegativesRankingLoss(given_embeddings())
    with pytest.raises(ValueError, match=r"got labels of shape \(2,\) and type torch.float32"):
        value_and_gradients(loss, make_columns(2, 2), torch.tensor([0.5, 1.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"missing_labels": "drop"}, "missing_labels must be 'error' or 'ignore', got 'drop'"),
        ({"mini_batch_size": 0}, "mini_batch_size must be at least 1, got 0"),
        ({"mini_batch_num_tokens": 0}, "mini_batch_num_tokens must be at least 1, got 0"),
        ({"scale": 0.0}, "Scale must be a positive value"),
        ({"directions": ("doc_to_query",)}, "'query_to_doc' direction is required"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultilingualMultipleNegativesRankingLoss(given_embeddings(), **options)


def test_a_static_embedding_has_no_mini_batches() -> None:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=4)], device="cpu")
    MultilingualMultipleNegativesRankingLoss(model)
    with pytest.raises(ValueError, match="leave out mini_batch_size"):
        MultilingualMultipleNegativesRankingLoss(model, mini_batch_size=2)


@pytest.mark.parametrize("wrapped", [MultipleNegativesRankingLoss, CachedMultipleNegativesRankingLoss])
def test_has_every_option_of_the_wrapped_losses(wrapped: type[nn.Module]) -> None:
    """A new option there would change what the wrapped loss computes, and not what this one does."""
    ours, theirs = (inspect.signature(loss).parameters for loss in (MultilingualMultipleNegativesRankingLoss, wrapped))
    assert set(theirs) <= set(ours)
    cache = {"mini_batch_size": 32} if "mini_batch_size" in theirs else {}
    config = wrapped(given_embeddings(), **cache).get_config_dict()  # type: ignore[operator]
    assert (
        config.items()
        <= MultilingualMultipleNegativesRankingLoss(given_embeddings(), **cache).get_config_dict().items()
    )


@pytest.mark.parametrize("option", [{"directions": ("query_to_doc", "new")}, {"partition_mode": "new"}])
def test_a_new_mode_of_the_library_is_an_error(option: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MultipleNegativesRankingLoss, "__init__", lambda self, *args, **kwargs: None)
    with pytest.raises(ValueError, match=r"does not compute \{'new'\}"):
        MultilingualMultipleNegativesRankingLoss(given_embeddings(), **option)


@pytest.mark.parametrize("mini_batch_size", [None, 2])
def test_a_gradient_cache_that_drops_the_labels_or_columns_is_an_error(mini_batch_size: int | None) -> None:
    loss = MultilingualMultipleNegativesRankingLoss(given_embeddings(), mini_batch_size=mini_batch_size)
    with pytest.raises(ValueError, match="got none"):
        loss.calculate_loss([[column] for column in make_columns(2, 3)])
    with pytest.raises(ValueError, match="got 1 columns"):
        value_and_gradients(loss, make_columns(1, 3), make_labels([0, 1, 2]))


@pytest.mark.parametrize("options", [{}, {"mini_batch_size": 4, "mini_batch_num_tokens": 100}])
def test_config_and_temperature(options: dict[str, Any]) -> None:
    loss = MultilingualMultipleNegativesRankingLoss(
        given_embeddings(),
        scale=50.0,
        similarity_fct=dot_score,
        hardness_mode="all_negatives",
        hardness_strength=2.0,
        **options,
    )
    config = loss.get_config_dict()
    assert (
        config.items()
        >= {
            "scale": 50.0,
            "similarity_fct": "dot_score",
            "gather_across_devices": False,
            "directions": ("query_to_doc",),
            "partition_mode": "joint",
            "hardness_mode": "all_negatives",
            "hardness_strength": 2.0,
            "missing_labels": "error",
            **options,
        }.items()
    )
    assert ("mini_batch_size" in config) == bool(options)
    assert loss.temperature == pytest.approx(0.02)
    for eprint, cited in {"2408.10536": True, "1807.03748": True, "2101.06983": bool(options)}.items():
        assert (f"eprint={{{eprint}}}" in loss.citation) == cited


@pytest.mark.parametrize("options", [{}, {"mini_batch_size": 2}])
def test_inside_a_matryoshka_loss(tiny_model: SentenceTransformer, options: dict[str, Any]) -> None:
    tiny_model.eval()
    labels = make_labels([0, 0, 1])
    texts = [["red", "green", "blue"], ["rot", "grün", "blau"]]

    def features() -> list[dict[str, Tensor]]:
        return [tiny_model.preprocess(column) for column in texts]

    with torch.no_grad():
        embeddings = [tiny_model(column)["sentence_embedding"].double() for column in features()]
    expected = sum(brute_force([column[:, :dim] for column in embeddings], [0, 0, 1]) for dim in (32, 8))
    loss = MultilingualMultipleNegativesRankingLoss(tiny_model, **options)
    value = MatryoshkaLoss(tiny_model, loss, [32, 8])(features(), labels)
    assert value.item() == pytest.approx(expected.item(), abs=1e-5)  # type: ignore[union-attr]


@pytest.mark.parametrize("side", ["right", "left"])
def test_texts_of_similar_length_are_encoded_together(tiny_model: SentenceTransformer, side: str) -> None:
    tiny_model.eval()  # without dropout
    tiny_model.tokenizer.padding_side = side
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 60, (2, 40), generator=generator).tolist()
    texts = [[chr(97 + i % 26) * length for i, length in enumerate(column)] for column in lengths]
    widths: list[torch.Size] = []
    tiny_model[0].register_forward_pre_hook(lambda _, args: widths.append(args[0]["input_ids"].shape))

    def found(loss: nn.Module, labels: Tensor | None) -> tuple[float, list[Tensor], int]:
        widths.clear()
        tiny_model.zero_grad()
        value = loss([tiny_model.preprocess(column) for column in texts], labels)
        value.backward()
        gradients = [weight.grad.clone() for weight in tiny_model.parameters() if weight.grad is not None]
        return value.item(), gradients, sum(rows * width for rows, width in widths)

    value, gradients, tokens = found(
        MultilingualMultipleNegativesRankingLoss(tiny_model), make_labels(list(range(len(texts[0]))))
    )
    wanted, wanted_gradients, padded = found(MultipleNegativesRankingLoss(tiny_model), None)
    assert value == pytest.approx(wanted, rel=1e-5)
    torch.testing.assert_close(gradients, wanted_gradients, rtol=1e-4, atol=1e-6)
    assert tokens < 0.75 * padded if side == "right" else tokens == padded


# Labels by rank: clusters shared on one rank, across ranks and nowhere; and a rank whose batch has no labels.
GATHERED_CLUSTERS: list[list[list[int] | None]] = [
    [[0, 0, 1], [2, 3, 4]],
    [[0, 1, 2], [2, 0, 3]],
    [[0, 1, 2], [0, 3, 2]],  # by pairs of the same place
    [[0, 1, 2], [3, 4, 5]],
    [[0, 1, 1], None],
]
GATHERED: list[tuple[list[list[int] | None], list[int]]] = [
    *((clusters, []) for clusters in GATHERED_CLUSTERS),
    ([[0, 1, 2], [3, 4, 5]], [3, 6, -1, 0, 4, -1]),  # hard negatives that answer queries: of both ranks, and their own
]
GATHERED_OPTIONS: list[dict[str, Any]] = [
    {},
    {"directions": ALL_DIRECTIONS, "hardness_mode": "in_batch_negatives", "hardness_strength": 2.0},
    {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction", "mini_batch_size": 2},
]


def gather_worker(rank: int, port: int) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    for (clusters, negatives), options in itertools.product(GATHERED, GATHERED_OPTIONS):
        union = make_columns(3, 6)
        # A pair without labels shares its cluster with no other.
        known = [part if part is not None else list(range(100, 103)) for part in clusters]
        expected = brute_force(union, [*itertools.chain(*known)], **options, negatives=[negatives] if negatives else [])
        expected.backward()

        mine = clusters[rank]
        loss = MultilingualMultipleNegativesRankingLoss(
            given_embeddings(), gather_across_devices=True, missing_labels="ignore", **options
        )
        columns = [column.detach()[3 * rank : 3 * rank + 3].clone().requires_grad_() for column in union]
        of_negatives = [negatives[3 * rank : 3 * rank + 3]] if negatives else []
        labels = None if mine is None else make_labels(mine, *of_negatives)
        value, gradients = value_and_gradients(loss, columns, labels)

        # DDP averages the ranks' losses; a gathered embedding's gradient is their sum.
        torch.distributed.all_reduce(value)
        torch.testing.assert_close(value / 2, expected.detach(), rtol=0, atol=1e-9)
        for gradient, column in zip(gradients, union, strict=True):
            torch.testing.assert_close(gradient / 2, column.grad[3 * rank : 3 * rank + 3], rtol=0, atol=1e-9)  # type: ignore[index]
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_gathering_two_processes_equals_one_process_on_the_union() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(gather_worker, args=(port,), nprocs=2)
