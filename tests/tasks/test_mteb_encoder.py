"""Any encoder of mteb is scored as by mteb's ordinary tasks, and its fingerprint covers what decides its embeddings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
import torch
from mteb.models.instruct_wrapper import InstructSentenceTransformerModel
from mteb.models.search_wrappers import SearchEncoderWrapper
from sentence_transformers import SentenceTransformer

from st_hybrid.tasks import MIRACL, ShardedSearch
from st_hybrid.tasks.mteb_encoder import encode_texts, encoder_fingerprint, similarity_of, wrap_model

from .conftest import CountingEncoder

WriteMiracl = Callable[..., Path]
QUIET = {"show_progress_bar": False, "batch_size": 16}
CONTEXT: Any = {"task_metadata": MIRACL.metadata, "hf_split": "dev", "hf_subset": "sw", "encode_kwargs": QUIET}


class Returning(CountingEncoder):
    """Returns its vectors in another form, and has no metadata."""

    def __init__(self, model: SentenceTransformer, form: Callable[[np.ndarray], Any]) -> None:
        super().__init__(model)
        self.mteb_model_meta, self.form = None, form  # type: ignore[assignment]

    def encode(self, inputs: Any, **kwargs: Any) -> Any:
        # The wrapper of sentence-transformers needs metadata to encode.
        plain = mteb.SentenceTransformerEncoderWrapper(self.model)
        return self.form(plain.encode(inputs, **kwargs))


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "array": lambda vectors: vectors,
    "half": lambda vectors: vectors.astype(np.float16),
    "lists": lambda vectors: vectors.tolist(),
    "list of arrays": list,
    "tensor": lambda vectors: torch.tensor(vectors, requires_grad=True),
    "bfloat16": lambda vectors: torch.tensor(vectors).bfloat16(),
    "list of bfloat16": lambda vectors: list(torch.tensor(vectors).bfloat16()),
}


def instruct(path: Path, **settings: Any) -> InstructSentenceTransformerModel:
    """A model that mteb's users make directly, whose ``mteb_model_meta`` is None."""
    settings = {"instruction_template": "{instruction}: ", **settings}
    model = InstructSentenceTransformerModel(str(path), revision=None, device="cpu", **settings)  # type: ignore[arg-type]
    assert model.mteb_model_meta is None
    return model


def scores(model: Any, task: str, folder: Path, subsets: list[str]) -> dict[str, dict[str, float]]:
    chosen: Any = mteb.get_task(task, hf_subsets=subsets)
    chosen.data_dir, chosen.verify = folder, False
    (result,) = mteb.evaluate(
        model, chosen, cache=None, encode_kwargs=dict(QUIET), show_progress_bar=False
    ).task_results
    return {of_subset["hf_subset"]: of_subset for split in result.scores.values() for of_subset in split}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_vectors_is_taken(tiny_model: SentenceTransformer, form: str) -> None:
    texts = ["short", "a text that is longer than the others", "of medium length"]
    vectors = encode_texts(Returning(tiny_model, FORMS[form]), texts, "document", **CONTEXT)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, tiny_model.encode_document(texts), atol=2e-3 if "16" in form else 1e-3)


def test_a_wrong_number_of_vectors_is_refused(tiny_model: SentenceTransformer) -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 32\) for 2 texts"):
        encode_texts(Returning(tiny_model, lambda vectors: vectors[:1]), ["one", "two"], "query", **CONTEXT)


def test_models_without_metadata_are_scored_as_by_ordinary_tasks(
    write_miracl: WriteMiracl, lareqa_data: Path, tiny_model: SentenceTransformer, tiny_model_path: Path
) -> None:
    folder = write_miracl(["sw"], passages=80, queries=20)
    for model in (instruct(tiny_model_path), Returning(tiny_model, FORMS["lists"])):
        ordinary = SearchEncoderWrapper(model)
        for task, data, subsets in (("MIRACL", folder, ["sw"]), ("XQuAD-R", lareqa_data, ["en-de", "en-multi"])):
            ours, expected = (scores(way, task, data, subsets) for way in (model, ordinary))
            for subset in subsets:
                for measure in ("ndcg_at_10", "main_score"):
                    assert ours[subset][measure] == pytest.approx(expected[subset][measure], abs=1e-5)
                assert 0 < ours[subset]["ndcg_at_10"] < 1


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
def test_the_similarity_is_the_one_that_mteb_ranks_by(tiny_model_path: Path, name: Any) -> None:
    model = wrap_model(SentenceTransformer(str(tiny_model_path), device="cpu", similarity_fn_name=name))
    assert similarity_of(model) == name
    model.mteb_model_meta = None  # type: ignore[assignment]
    assert similarity_of(model) == name


def test_a_similarity_of_the_model_s_own_stays_a_function(tiny_model: SentenceTransformer) -> None:
    class Own(CountingEncoder):
        def similarity(self, first: Any, second: Any) -> Any:
            return torch.as_tensor(first) @ torch.ones(32, 32) @ torch.as_tensor(second).T

    own = Own(tiny_model)
    assert similarity_of(own) == own.similarity


def test_a_similarity_that_faiss_does_not_have_takes_mteb_s_way(
    write_miracl: WriteMiracl, tiny_model_path: Path
) -> None:
    folder = write_miracl(["sw"], passages=60, queries=10)
    model = wrap_model(SentenceTransformer(str(tiny_model_path), device="cpu", similarity_fn_name="manhattan"))
    ours, expected = (scores(way, "MIRACL", folder, ["sw"])["sw"] for way in (model, SearchEncoderWrapper(model)))
    assert ours["ndcg_at_10"] == pytest.approx(expected["ndcg_at_10"], abs=1e-9)


def test_an_approximate_search_needs_no_metadata(tiny_model_path: Path) -> None:
    search = ShardedSearch(instruct(tiny_model_path), index_factory="Flat")
    assert search.mteb_model_meta.experiment_kwargs == {"index_factory": "Flat", "index_parameters": None}


def test_what_decides_the_embeddings_of_passages_decides_the_fingerprint(tiny_model_path: Path) -> None:
    def fingerprint(model: Any, **options: Any) -> str:
        return encoder_fingerprint(model, **{**CONTEXT, "encode_kwargs": {**QUIET, **options}})

    def model(**prompts: Any) -> Any:
        return wrap_model(SentenceTransformer(str(tiny_model_path), device="cpu"), **prompts)

    same = {fingerprint(model()), fingerprint(model(), batch_size=8), fingerprint(model(query_prompt="ask: "))}
    assert len(same) == 1
    short, default = model(), model(query_prompt="ask: ")
    short.model.truncate_dim = 16
    default.model.default_prompt_name = "query"
    different = {
        fingerprint(model(), normalize_embeddings=True),
        fingerprint(model(document_prompt="text: ")),
        fingerprint(model(document_prompt="")),
        fingerprint(short),
        fingerprint(default),
    }
    assert len(different | same) == 6

    # MIRACL has no instruction for passages, so that a template does not touch them.
    said = {"prompts_dict": {"document": "Represent"}}
    instructed = [{}, {"instruction_template": "Do {instruction}: "}, {**said, "apply_instruction_to_passages": False}]
    assert len({fingerprint(instruct(tiny_model_path, **settings)) for settings in instructed}) == 1
    instructed += [said, {**said, "instruction_template": "Do {instruction}: "}]
    assert len({fingerprint(instruct(tiny_model_path, **settings)) for settings in instructed}) == 3


def test_models_without_weights_are_known_by_name_and_embeddings(tiny_model: SentenceTransformer) -> None:
    class Remote:
        """Hides its weights."""

        def __init__(self, scale: float = 1.0, meta: Any = None) -> None:
            self._encode = lambda *texts, **options: scale * CountingEncoder(tiny_model).encode(*texts, **options)
            self.mteb_model_meta = meta

        def encode(self, inputs: Any, **options: Any) -> Any:
            return self._encode(inputs, **options)

        def similarity(self, first: Any, second: Any) -> Any:
            return first @ second.T

        similarity_pairwise = similarity

    meta = CountingEncoder(tiny_model).mteb_model_meta
    known = [encoder_fingerprint(model, **CONTEXT) for model in (Remote(), Remote(), Remote(2.0), Remote(meta=meta))]  # type: ignore[arg-type]
    assert known[0] == known[1]
    assert len(set(known)) == 3
