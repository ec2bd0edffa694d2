"""Overlaps are those that comparing each text with each would find."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid.data import overlap
from st_hybrid.data.overlap import KnownTexts, OverlapSettings

TEXTS = st.lists(st.text(alphabet="abcd 中", max_size=20), min_size=1, max_size=8)


def by_hand(texts: list[str], known: list[str], settings: OverlapSettings) -> dict[tuple[int, int], tuple[float, bool]]:
    """Every text against every known text, with Python's sets."""

    def plain(text: str) -> str:
        return "".join(c * 3 if c == "中" else c for c in text if not c.isspace())

    def grams(text: str) -> set[str]:
        spelled = [f"{c}{i}" for c in text if not c.isspace() for i in range(3 if c == "中" else 1)]
        return {"".join(spelled[i : i + settings.ngram]) for i in range(len(spelled) - settings.ngram + 1)}

    found = {}
    for i, one in enumerate(texts):
        for j, other in enumerate(known):
            if plain(one) == plain(other) and len(plain(one)) >= settings.min_exact_letters:
                found[i, j] = (1.0, True)
                continue
            a, b = grams(one), grams(other)
            shorter = min(len(a), len(b))
            if shorter >= settings.min_letters - settings.ngram + 1 and len(a & b) >= settings.threshold * shorter:
                found[i, j] = (len(a & b) / shorter, False)
    return found


@given(TEXTS, TEXTS, st.integers(1, 4), st.sampled_from([0.2, 0.5, 0.75, 1.0]), st.integers(0, 4), st.integers(1, 9))
def test_finds_what_comparing_each_with_each_finds(
    texts: list[str], known: list[str], ngram: int, threshold: float, longer: int, exact: int
) -> None:
    settings = OverlapSettings(ngram=ngram, threshold=threshold, min_letters=ngram + longer, min_exact_letters=exact)
    found = KnownTexts(pa.array(known), settings).find(pa.array(texts))
    pairs = {(int(i), int(j)): (float(share), bool(same)) for i, j, share, same in zip(*found, strict=True)}
    assert len(pairs) == len(found.text)
    assert pairs == by_hand(texts, known, settings)


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    texts, known = (["".join(draw.choice(list("abc"), 12)) for _ in range(40)] for _ in range(2))
    known[7] = texts[33]
    settings = OverlapSettings(ngram=3, threshold=0.6, min_letters=8)
    whole = KnownTexts(pa.array(known), settings).find(pa.array(texts))
    monkeypatch.setattr(overlap, "_CHUNK", 7)
    monkeypatch.setattr(overlap, "_PRODUCTS", 5)
    parts = KnownTexts(pa.array(known), settings).find(pa.array(texts))
    assert len(whole.text) > 10
    assert whole.exact.sum() >= 1
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "edited",
    [
        "where DOES the white stork build its nest in spring",
        "Where does the wihte stork build its nst in spring?",
        "Where does the white stork always build its nest in spring?",
        "build its nest in spring?",
        "He asked: Where does the white stork build its nest in spring? Nobody knew.",
        "the white stork build its large nest in sprang",
    ],
)
def test_light_edits_are_found(edited: str) -> None:
    known = ["Which bird sleeps on one leg?", "Where does the white stork build its nest in spring?"]
    found = KnownTexts(pa.array(known), OverlapSettings(min_letters=20)).find(pa.array([edited]))
    assert found.known.tolist() == [1]


@pytest.mark.parametrize(
    "edited", ["白鹳春天在烟囱上筑巢", "白鹳在春天在屋顶上筑巢吗？", "นกกระสาขาวทำรังบนหลังคา", "นกกระสา ขาวทำรังบนหลงัคา"]
)
def test_scripts_without_spaces(edited: str) -> None:
    known = KnownTexts(pa.array(["白鹳春天在屋顶上筑巢", "นกกระสาขาวทำรังบนหลังคาบ้าน"]), OverlapSettings(min_letters=18))
    assert len(known.find(pa.array([edited])).text) == 1


def test_what_is_short_is_compared_as_a_whole() -> None:
    known = KnownTexts(pa.array(["The open window", "OK"]))
    assert known.find(pa.array(["the open window!", "ok", "In the open window case"])).text.tolist() == [0]


@pytest.mark.parametrize("options", [{"threshold": 0}, {"threshold": 1.1}, {"ngram": 0}, {"ngram": 30}])
def test_settings_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"threshold|n-grams"):
        OverlapSettings(**options)  # type: ignore[arg-type]
