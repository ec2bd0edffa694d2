"""Rows that share text with an evaluation set are found, reported and left out, with all that belongs to them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, concatenate_datasets
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid.data import decontamination
from st_hybrid.data.decontamination import KnownTexts, OverlapSettings, decontaminate
from st_hybrid.data.evaluation_texts import EvaluationTexts, read_evaluation_texts
from st_hybrid.data.write import write_rows
from st_hybrid.data.zero_shot import report_path, write_report
from st_hybrid.files import sha256


def texts(*held_out: str, name: str = "held-out") -> EvaluationTexts:
    ids = [f"line {number}" for number in range(1, len(held_out) + 1)]
    return EvaluationTexts(name, pa.array(ids, pa.large_string()), pa.array(held_out, pa.large_string()))


def test_one_language_found_drops_the_group(rows: Dataset, evaluation: Path) -> None:
    found = decontaminate(rows, [read_evaluation_texts("XQuAD-R", evaluation, verify=False)])
    matches = found.matches.to_pylist()
    assert [(one["row"], one["id"], one["language"]) for one in matches] == [(10, "g3", "en")] * 2
    assert [one["column"] for one in matches] == ["query", "positive"]
    for match in matches:
        assert match["evaluation"] == "XQuAD-R"
        assert match["evaluation_id"].startswith("sentence en")
        assert match["kind"] == "near"
        assert 0.5 <= match["overlap"] < 1
    assert set(found.clean["id"]) == {f"g{number}" for number in range(8)} - {"g3"}
    assert found.clean["query"][:] == [text for text, one in zip(rows["query"], rows["id"], strict=True) if one != "g3"]
    assert (found.rows, found.groups, found.clean_groups) == (24, 8, 7)


def test_groups_of_the_same_passage_go_too(rows: Dataset) -> None:
    linked = Dataset.from_list(
        [{"id": "linked", "language": "de", "query": "Was ist hinter dem Rathaus?", "positive": rows[10]["positive"]}]
    )
    found = decontaminate(concatenate_datasets([rows, linked]), [texts(rows[9]["query"])], OverlapSettings(threshold=1))
    assert found.matches["id"].to_pylist() == ["g3"]
    assert found.matches["kind"].to_pylist() == ["exact"]
    assert not {"g3", "linked"} & set(found.clean["id"])
    assert len(found.clean) == 21


def test_negatives_are_looked_at_and_the_largest_overlap_told(rows: Dataset) -> None:
    passage = "An evaluation passage about the lighthouse keepers of the northern islands."
    with_negative = rows.add_column("negative_1", [passage if row == 5 else f"Nothing {row}." for row in range(24)])
    sets = [texts("Unrelated words stand here.", passage[:50], passage), texts(passage.upper(), name="other set")]
    matches = decontaminate(with_negative, sets).matches.to_pylist()
    told = [(one["row"], one["column"], one["evaluation"], one["evaluation_id"], one["kind"]) for one in matches]
    assert told == [(6, "negative_1", "held-out", "line 3", "exact"), (6, "negative_1", "other set", "line 1", "exact")]


def test_rows_that_share_nothing_stay_as_they_are(rows: Dataset) -> None:
    found = decontaminate(rows, [texts("Quite another subject, told in quite other words.")])
    assert not len(found.matches)
    assert found.clean.to_list() == rows.to_list()


def test_settings_reach_the_search(rows: Dataset) -> None:
    cut = rows[0]["positive"][:30]
    assert len(decontaminate(rows, [texts(cut)]).matches)
    assert not len(decontaminate(rows, [texts(cut)], OverlapSettings(min_letters=60)).matches)


def test_the_report_knows_the_data_the_sets_and_the_clean_file(rows: Dataset, evaluation: Path, tmp_path: Path) -> None:
    data, clean = tmp_path / "rows.jsonl", tmp_path / "clean.jsonl.gz"
    write_rows(rows, data)
    held_out = read_evaluation_texts("XQuAD-R", evaluation, verify=False)
    found = decontaminate(rows, [held_out])
    write_rows(found.clean, clean)
    write_report(found, data, clean)
    assert report_path(clean) == tmp_path / "clean.jsonl.gz.decontamination.json"
    report = json.loads(report_path(clean).read_text(encoding="utf-8"))
    assert [report[key] for key in ("data", "data_sha256", "rows", "groups")] == ["rows.jsonl", sha256(data), 24, 8]
    clean_keys = ("clean", "clean_sha256", "clean_rows", "clean_groups")
    assert [report[key] for key in clean_keys] == ["clean.jsonl.gz", sha256(clean), 21, 7]
    assert report["against"] == [{"name": "XQuAD-R", "texts": 6, "sha256": held_out.sha256}]
    assert report["settings"]["threshold"] == 0.5
    assert report["matches"] == found.matches.to_pylist()
    assert "st-hybrid" in report["provenance"]["versions"]


def test_no_evaluation_set_is_an_error(rows: Dataset) -> None:
    with pytest.raises(ValueError, match="at least one"):
        decontaminate(rows, [])


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
    monkeypatch.setattr(decontamination, "_CHUNK", 7)
    monkeypatch.setattr(decontamination, "_PRODUCTS", 5)
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
