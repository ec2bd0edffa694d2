"""NLLB-200 and M2M100 through transformers and through CTranslate2."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from pathlib import Path

import ctranslate2
import pytest
from safetensors.torch import load_file, save_file

from st_hybrid.translation import CTranslate2Translator, Decoding, TransformersTranslator

from .conftest import WORDS, translate_words

BACK_ENDS = [TransformersTranslator, CTranslate2Translator]
TEXTS = [" ".join(text) for length in (1, 2) for text in itertools.product(WORDS["eng_Latn"], repeat=length)]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ST_HYBRID_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("back_end", BACK_ENDS)
@pytest.mark.parametrize("beam_size", [1, 4])
def test_translates_right(nllb_path: Path, back_end: type, beam_size: int) -> None:
    model = back_end(nllb_path, decoding=Decoding(beam_size=beam_size), device="cpu")
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
        decoding = Decoding(beam_size=beam_size, max_length=24)
        found = []
        for back_end in BACK_ENDS:
            model = back_end(path, decoding=decoding, device="cpu")
            found.append([model.translate(texts, model.code("en"), model.code(name)) for name in languages])
        assert found[0] == found[1]
        assert found[0][0] != found[0][1]  # the target language reaches the model
        assert len(set(found[0][0])) > 5
        assert not any("__" in text or "</s>" in text for text in found[0][0])


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_a_batch_does_not_change_its_texts_translations(nllb_path: Path, back_end: type) -> None:
    model = back_end(nllb_path, device="cpu")
    alone = [model.translate([text], "eng_Latn", "deu_Latn")[0] for text in TEXTS[::9]]
    assert model.translate(TEXTS[::9], "eng_Latn", "deu_Latn") == alone


def test_lengths_count_what_the_model_reads(nllb_path: Path, m2m_path: Path) -> None:
    for path, text in ((nllb_path, "sun rain sun"), (m2m_path, "ab no")):
        model = TransformersTranslator(path, decoding=Decoding(max_source=4), device="cpu")
        source = model.code("en")
        lengths = model.lengths([text, text * 9, ""], source)
        encoded = model.tokens.encode([text, text * 9, ""], source)
        assert lengths[2] == 2  # the language and the end
        assert 4 < lengths[0] < lengths[1]
        assert [len(row) for row in encoded] == [4, 4, 2]
        assert encoded[0][-1] == model.tokens.tokenizer.eos_token_id  # the end is not what is cut off


def test_rows_of_the_embeddings_without_a_token_say_nothing(m2m_path: Path, nllb_path: Path) -> None:
    """An untrained model may well choose one."""
    for path in (m2m_path, nllb_path):
        model = TransformersTranslator(path, device="cpu")
        ids = model.tokens.encode(["ab no"], model.code("en"))[0]
        rows = model.model.config.vocab_size
        assert model.tokens.decode([rows - 1, *ids, rows - 2]) == model.tokens.decode(ids)
        assert model.tokens.decode([rows - 1, rows - 2]) == ""


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_the_longest_translation(nllb_path: Path, back_end: type) -> None:
    text = " ".join(WORDS["eng_Latn"][:4])
    whole = back_end(nllb_path, device="cpu").translate([text], "eng_Latn", "deu_Latn")
    short = back_end(nllb_path, decoding=Decoding(max_length=3), device="cpu").translate([text], "eng_Latn", "deu_Latn")
    assert len(whole[0].split()) == 4
    assert short == ["Sonne Regen"]  # and the language's token


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_the_fingerprint_says_what_decides_translations(nllb_path: Path, tmp_path: Path, back_end: type) -> None:
    copy, changed = tmp_path / "copy", tmp_path / "changed"
    shutil.copytree(nllb_path, copy)
    shutil.copytree(nllb_path, changed)
    weights = load_file(changed / "model.safetensors")
    weights["model.shared.weight"] += 1e-3
    save_file(weights, changed / "model.safetensors", metadata={"format": "pt"})
    base = back_end(nllb_path, device="cpu")
    base.translate(["sun"], "eng_Latn", "rus_Cyrl")  # which leaves a state in tokenizers
    assert base.fingerprint() == back_end(copy, device="cpu").fingerprint()
    others = {
        back_end(changed, device="cpu").fingerprint(),
        back_end(nllb_path, decoding=Decoding(beam_size=2), device="cpu").fingerprint(),
        back_end(nllb_path, decoding=Decoding(max_source=9), device="cpu").fingerprint(),
        base.fingerprint(),
    }
    assert len(others) == 4


def test_a_model_is_converted_once_and_whole(nllb_path: Path, tmp_path: Path) -> None:
    model = CTranslate2Translator(nllb_path, device="cpu", compute_type="int8")
    assert model.folder.parent == tmp_path / "cache" / "ctranslate2"
    written = (model.folder / "model.bin").stat().st_mtime_ns
    again = CTranslate2Translator(nllb_path, device="cpu", compute_type="int8")
    assert again.folder == model.folder
    assert (again.folder / "model.bin").stat().st_mtime_ns == written
    assert CTranslate2Translator(nllb_path, device="cpu").folder != model.folder
    assert not list(model.folder.parent.glob(".*"))
    assert model.translate(TEXTS[:8], "eng_Latn", "deu_Latn") == WORDS["deu_Latn"]


def test_a_converted_model_is_taken_as_it_is(m2m_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "converted"
    made = CTranslate2Translator(m2m_path, device="cpu", converted=folder)
    expected = made.translate(["ab no"], "en", "de")
    assert (folder / "model.bin").is_file()
    taken = CTranslate2Translator(folder, tokenizer=m2m_path, device="cpu")
    assert taken.folder == folder
    assert taken.translate(["ab no"], "en", "de") == expected
    vocabulary = json.loads((folder / "shared_vocabulary.json").read_text(encoding="utf-8"))
    assert vocabulary[made.tokens.token_id("__de__")] == "__de__"
    assert ctranslate2.contains_model(str(folder))


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_what_is_wrong_is_said_before_the_model_is_loaded(
    nllb_path: Path, tiny_model_path: Path, tmp_path: Path, back_end: type
) -> None:
    tokenizer_alone = tmp_path / "tokenizer"
    shutil.copytree(nllb_path, tokenizer_alone, ignore=shutil.ignore_patterns("*.safetensors"))
    model = back_end(tokenizer_alone, device="cpu")
    with pytest.raises(ValueError, match=r"no language 'german'\. Did you mean 'de' \(German\)\?"):
        model.code("german")
    with pytest.raises(ValueError, match="no language 'fr', but de, en, ru"):
        model.code("fr")
    with pytest.raises(ValueError, match="neither of NLLB-200's nor of M2M100's kind"):
        back_end(tiny_model_path, device="cpu")
    with pytest.raises(OSError, match=r"no tokenizer for .*nowhere: it is neither a folder"):
        back_end(tmp_path / "nowhere", device="cpu")
    with pytest.raises(ValueError, match="beam_size must be positive"):
        back_end(nllb_path, decoding=Decoding(beam_size=0))


def test_arithmetic_that_there_is_not(nllb_path: Path) -> None:
    with pytest.raises(ValueError, match="dtype must be float32, float16 or bfloat16, got 'int8'"):
        TransformersTranslator(nllb_path, dtype="int8")
    with pytest.raises(ValueError, match="compute_type must be one of default, int8"):
        CTranslate2Translator(nllb_path, compute_type="int4")
