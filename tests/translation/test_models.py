"""NLLB-200 and M2M100 through transformers and through CTranslate2."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from pathlib import Path
from typing import Any

import ctranslate2
import pytest
from safetensors.torch import load_file, save_file

from st_hybrid.translation import FunctionTranslator, ModelOptions, ModelTranslator
from tests.models import WORDS, translate_words

BACK_ENDS = ["transformers", "ctranslate2"]
TEXTS = [" ".join(text) for length in (1, 2) for text in itertools.product(WORDS["eng_Latn"], repeat=length)]


def load(path: Path, back_end: str = "transformers", **options: Any) -> ModelTranslator:
    return ModelTranslator(path, ModelOptions(back_end, device="cpu", **options))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ST_HYBRID_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("back_end", BACK_ENDS)
@pytest.mark.parametrize("beam_size", [1, 4])
def test_translates_right(nllb_path: Path, back_end: str, beam_size: int) -> None:
    model = load(nllb_path, back_end, beam_size=beam_size)
    for language, code in (("de", "deu_Latn"), ("rus", "rus_Cyrl")):
        assert model.code(language) == code
        found = model.translate(TEXTS, model.code("en"), code)
        assert found == [translate_words(text, code) for text in TEXTS]


@pytest.mark.parametrize("beam_size", [1, 2, 5])
def test_the_back_ends_agree_on_what_no_one_taught_them(m2m_path: Path, nllb_path: Path, beam_size: int) -> None:
    """Longer texts than the model was trained on, unknown words, and M2M100's tokens with random weights."""
    drawn = random.Random(1)
    for path, languages, words in (
        (nllb_path, ("de", "ru"), [*WORDS["eng_Latn"], "sunny", "12", "снег", "日"]),
        (m2m_path, ("fr", "zh"), ["ab", "mist", "no", "pirate", "xyz", "12"]),
    ):
        texts = [" ".join(drawn.choices(words, k=drawn.randint(1, 12))) for _ in range(40)]
        found = []
        for back_end in BACK_ENDS:
            model = load(path, back_end, beam_size=beam_size, max_length=24)
            found.append([model.translate(texts, model.code("en"), model.code(name)) for name in languages])
        assert found[0] == found[1]
        assert found[0][0] != found[0][1]  # the target language reaches the model
        assert len(set(found[0][0])) > 5
        assert not any("__" in text or "</s>" in text for text in found[0][0])


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_a_batch_does_not_change_its_texts_translations(nllb_path: Path, back_end: str) -> None:
    model = load(nllb_path, back_end)
    alone = [model.translate([text], "eng_Latn", "deu_Latn")[0] for text in TEXTS[::9]]
    assert model.translate(TEXTS[::9], "eng_Latn", "deu_Latn") == alone


def test_lengths_count_what_the_model_reads(nllb_path: Path, m2m_path: Path) -> None:
    for path, text in ((nllb_path, "sun rain sun"), (m2m_path, "ab no")):
        model = load(path, max_source_length=4)
        source = model.code("en")
        lengths = model.lengths([text, text * 9, ""], source)
        encoded = model.encode([text, text * 9, ""], source)
        assert lengths[2] == 2  # the language and the end
        assert 4 < lengths[0] < lengths[1]
        assert [len(row) for row in encoded] == [4, 4, 2]
        assert encoded[0][-1] == model.tokenizer.eos_token_id  # the end is not what is cut off


def test_rows_of_the_embeddings_without_a_token_say_nothing(m2m_path: Path, nllb_path: Path) -> None:
    """An untrained model may well choose one."""
    for path in (m2m_path, nllb_path):
        model = load(path)
        ids = model.encode(["ab no"], model.code("en"))[0]
        rows = model.engine.model.config.vocab_size
        assert model.decode([rows - 1, *ids, rows - 2]) == model.decode(ids)
        assert model.decode([rows - 1, rows - 2]) == ""


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_the_longest_translation(nllb_path: Path, back_end: str) -> None:
    text = " ".join(WORDS["eng_Latn"][:4])
    whole = load(nllb_path, back_end).translate([text], "eng_Latn", "deu_Latn")
    short = load(nllb_path, back_end, max_length=3).translate([text], "eng_Latn", "deu_Latn")
    assert len(whole[0].split()) == 4
    assert short == ["Sonne Regen"]  # and the language's token


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_the_fingerprint_says_what_decides_translations(nllb_path: Path, tmp_path: Path, back_end: str) -> None:
    copy, changed = tmp_path / "copy", tmp_path / "changed"
    shutil.copytree(nllb_path, copy)
    shutil.copytree(nllb_path, changed)
    weights = load_file(changed / "model.safetensors")
    weights["model.shared.weight"] += 1e-3
    save_file(weights, changed / "model.safetensors", metadata={"format": "pt"})
    base = load(nllb_path, back_end)
    base.translate(["sun"], "eng_Latn", "rus_Cyrl")  # which leaves a state in tokenizers
    assert base.fingerprint() == load(copy, back_end).fingerprint()
    others = {
        load(changed, back_end).fingerprint(),
        load(nllb_path, back_end, beam_size=2).fingerprint(),
        load(nllb_path, back_end, max_source_length=9).fingerprint(),
        base.fingerprint(),
    }
    assert len(others) == 4


def test_a_model_is_converted_once_and_whole(nllb_path: Path, tmp_path: Path) -> None:
    model = load(nllb_path, "ctranslate2", compute_type="int8")
    assert model.engine.folder.parent == tmp_path / "cache" / "ctranslate2"
    written = (model.engine.folder / "model.bin").stat().st_mtime_ns
    again = load(nllb_path, "ctranslate2", compute_type="int8")
    assert again.engine.folder == model.engine.folder
    assert (again.engine.folder / "model.bin").stat().st_mtime_ns == written
    assert load(nllb_path, "ctranslate2").engine.folder != model.engine.folder
    assert not list(model.engine.folder.parent.glob(".*"))
    assert model.translate(TEXTS[:8], "eng_Latn", "deu_Latn") == WORDS["deu_Latn"]


def test_a_converted_model_is_taken_as_it_is(m2m_path: Path, tmp_path: Path) -> None:
    made = load(m2m_path, "ctranslate2")
    expected = made.translate(["ab no"], "en", "de")
    folder = made.engine.folder.rename(tmp_path / "converted")
    taken = load(folder, "ctranslate2", tokenizer=str(m2m_path))
    assert taken.engine.folder == folder
    assert taken.translate(["ab no"], "en", "de") == expected
    vocabulary = json.loads((folder / "shared_vocabulary.json").read_text(encoding="utf-8"))
    assert vocabulary[made.tokenizer.convert_tokens_to_ids("__de__")] == "__de__"
    assert ctranslate2.contains_model(str(folder))


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_what_is_wrong_is_said_before_the_model_is_loaded(
    nllb_path: Path, tiny_model_path: Path, tmp_path: Path, back_end: str
) -> None:
    tokenizer_alone = tmp_path / "tokenizer"
    shutil.copytree(nllb_path, tokenizer_alone, ignore=shutil.ignore_patterns("*.safetensors"))
    model = load(tokenizer_alone, back_end)
    with pytest.raises(ValueError, match=r"no language 'german'\. Did you mean 'de' \(German\)\?"):
        model.code("german")
    with pytest.raises(ValueError, match=r"no language 'fr'\. It has de, en, ru"):
        model.code("fr")
    with pytest.raises(ValueError, match="neither NLLB-200 nor M2M100"):
        load(tiny_model_path, back_end)
    with pytest.raises(OSError, match=r"no tokenizer for .*nowhere: it is neither a folder"):
        load(tmp_path / "nowhere", back_end)
    with pytest.raises(ValueError, match="beam_size must be positive"):
        load(nllb_path, back_end, beam_size=0)


def upper(texts: list[str], source: str, target: str) -> list[str]:
    return [f"{text.upper()} {source}>{target}" for text in texts]


def test_a_function_translates() -> None:
    translator = FunctionTranslator(upper)
    assert translator.translate(["a", "b"], "en", "de") == ["A en>de", "B en>de"]
    assert translator.fingerprint() == f"function {__name__}.upper"
    assert translator.lengths(["", "a", "abcd", "abcde", "日本"], "ja").tolist() == [0, 1, 1, 2, 2]


def test_its_name_says_which_it_is() -> None:
    names = {FunctionTranslator(upper, name).fingerprint() for name in (None, "one", "two")}
    assert len(names) == 3


def test_its_languages_are_any() -> None:
    assert FunctionTranslator(upper).code("nds") == "nds"
    with pytest.raises(ValueError, match=r"upper: 'german' .* Did you mean 'de' \(German\)\?"):
        FunctionTranslator(upper).code("german")


def test_options_that_make_no_sense() -> None:
    options = ModelOptions(max_length=100)
    assert [options.limit(longest) for longest in (1, 10, 16, 500)] == [25, 70, 100, 100]
    with pytest.raises(ValueError, match="max_source_length must be positive, got 0"):
        ModelOptions(max_source_length=0)
    with pytest.raises(ValueError, match="compute_type must be one of float32, float16, bfloat16, got 'int8'"):
        ModelOptions(compute_type="int8")
    with pytest.raises(ValueError, match=r"compute_type must be one of float32.* int8, .*, got 'int4'"):
        ModelOptions("ctranslate2", compute_type="int4")
