"""SQuAD's format in several languages: answer sentences, paragraphs, and what is left out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from st_hybrid.data import Dropped, read_squad

TEXTS = {
    "de": ["Dr. Elster nistet z. B. im Hof. ", "Sie legt fünf Eier!\n", "Und dann?"],
    "ja": ["これは本です。", "あれはペンです！", "そうですか？"],
}


def paragraph(language: str, number: int, breaks: bool) -> dict[str, Any]:
    """Three sentences, and a question about each."""
    sentences = [f"{text[:3]}{number}{text[3:]}" for text in TEXTS[language]]
    starts = [sum(map(len, sentences[:place])) for place in range(3)]
    content: dict[str, Any] = {
        "context": "".join(sentences),
        "qas": [
            {
                "id": f"q{number}.{place}",
                "question": f"{language} {number}.{place}?",
                "answers": [{"answer_start": start + 1, "text": sentences[place][1:6]}],
            }
            for place, start in enumerate(starts)
        ],
    }
    if breaks:
        content["sentence_breaks"] = [
            [start, start + len(text.strip())] for start, text in zip(starts, sentences, strict=True)
        ]
    return content


def write(path: Path, paragraphs: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"version": "1.1", "data": [{"title": "t", "paragraphs": [part]} for part in paragraphs]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("breaks", [True, False])
def test_sentences_from_the_file_or_from_the_splitter(breaks: bool, tmp_path: Path) -> None:
    for code in TEXTS:
        write(tmp_path / f"{code}.json", [paragraph(code, number, breaks) for number in range(3)])
    rows, report = read_squad(tmp_path)
    assert report.languages == {"de": 9, "ja": 9}
    assert report.groups == 9
    german = {row["id"]: row for row in rows if row["language"] == "de"}
    assert german["q1.0"] == {
        "id": "q1.0",
        "language": "de",
        "query": "de 1.0?",
        "positive": "Dr.1 Elster nistet z. B. im Hof.",
    }
    assert [german[f"q2.{place}"]["positive"] for place in (1, 2)] == ["Sie2 legt fünf Eier!", "Und2 dann?"]
    assert (
        next(row for row in rows if (row["id"], row["language"]) == ("q0.1", "ja"))["positive"] == "あれは0ペンです！"
    )


def test_paragraphs(tmp_path: Path) -> None:
    parts = [paragraph("de", 0, False)]
    rows, _ = read_squad({"de": write(tmp_path / "train-v1.1.json", parts)}, positive="paragraph")
    assert rows["positive"][:] == [parts[0]["context"]] * 3


def test_other_sentences_of_the_paragraph_as_hard_negatives(tmp_path: Path) -> None:
    short = paragraph("de", 1, True)
    short["sentence_breaks"] = [short["sentence_breaks"][0], (len(short["context"]) - 10, len(short["context"]))]
    path = write(tmp_path / "de.json", [paragraph("de", 0, True), short])
    rows, report = read_squad({"de": path}, negatives=2)
    first, second, third = "Dr.0 Elster nistet z. B. im Hof.", "Sie0 legt fünf Eier!", "Und0 dann?"
    assert rows.select_columns(["positive", "negative_1", "negative_2"]).to_list() == [
        {"positive": first, "negative_1": second, "negative_2": third},
        {"positive": second, "negative_1": first, "negative_2": third},
        {"positive": third, "negative_1": second, "negative_2": first},
    ]
    assert report.dropped["too few sentences for the negatives"].rows == 2
    for options in ({"negatives": 0}, {"negatives": 1, "positive": "paragraph"}):
        with pytest.raises(ValueError, match="negatives must be at least 1, with positive='sentence'"):
            read_squad({"de": path}, **options)  # type: ignore[arg-type]


def test_a_splitter_of_ones_own(tmp_path: Path) -> None:
    path = write(tmp_path / "de.json", [paragraph("de", 0, False)])
    rows, _ = read_squad({"de": path}, splitter=lambda language, text: [(0, 4), (4, len(text))])
    assert rows["positive"][:2] == ["Dr.0", paragraph("de", 0, False)["context"][4:]]


def test_languages_that_mark_no_sentence_ends_come_with_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "th.json", [paragraph("ja", 0, False)])
    with pytest.warns(UserWarning, match=r"th\.json has no sentence breaks, and th does not mark sentence ends"):
        read_squad({"th": path})
    write(path, [paragraph("ja", 0, True)])
    read_squad({"th": path})  # no warning, which would be an error


pytestmark = pytest.mark.filterwarnings("error::UserWarning")


def test_questions_of_no_use_are_left_out_and_placed(tmp_path: Path) -> None:
    part = paragraph("de", 0, True)
    part["qas"][0]["answers"] = []
    part["qas"][1]["answers"] = [{"answer_start": 10_000}]
    part["qas"][2]["answers"][0]["text"] = "anders"
    empty = paragraph("de", 1, True)
    empty["qas"][2]["question"] = " "
    path = write(tmp_path / "de.json", [part, empty])
    rows, report = read_squad({"de": path})
    place = f"{path} (language de), article 0, paragraph 0, question "
    assert report.dropped == {
        "question without an answer": Dropped(1, f"{place}'q0.0'"),
        "answer outside every sentence": Dropped(1, f"{place}'q0.1'"),
        "answer is not where the file says": Dropped(1, f"{place}'q0.2'"),
        "no query": Dropped(1, f"{path} (language de), article 1, paragraph 0, question 'q1.2'"),
    }
    assert (report.read, rows["id"][:]) == (6, ["q1.0", "q1.1"])
    assert report.sources == {f"{path} (questions)": 6}
    assert len(read_squad({"de": path}, positive="paragraph").rows) == 4


def test_questions_without_answers_in_any_spelling(tmp_path: Path) -> None:
    part, more = paragraph("de", 0, True), paragraph("de", 2, True)
    for question, answers in zip(part["qas"], ([], None), strict=False):
        question["answers"] = answers
    del part["qas"][2]["answers"]
    more["qas"][0]["is_impossible"] = True
    more["qas"][1]["answers"] = [{"text": "", "answer_start": 0}]
    more["qas"][2]["answers"] = {"text": [], "answer_start": []}
    path = write(tmp_path / "de.json", [part, more, paragraph("de", 1, True)])
    for positive in ("sentence", "paragraph"):
        rows, report = read_squad({"de": path}, positive=positive)  # type: ignore[arg-type]
        assert rows["id"][:] == ["q1.0", "q1.1", "q1.2"]
        assert report.dropped["question without an answer"].rows == 6


def test_an_answer_that_stands_once_is_found_away_from_its_offset(tmp_path: Path) -> None:
    part = paragraph("de", 0, True)
    for question, wrong in zip(part["qas"], (3, 0, 10_000), strict=True):
        question["answers"][0]["answer_start"] = wrong
    part["qas"][0]["answers"][0]["text"] = "e"  # stands more than once
    rows, report = read_squad({"de": write(tmp_path / "de.json", [part])})
    assert rows["positive"][:] == ["Sie0 legt fünf Eier!", "Und0 dann?"]
    assert report.dropped["answer is not where the file says"].rows == 1
    place = f"{tmp_path / 'de.json'} (language de), article 0, paragraph 0, question 'q0.1'"
    assert report.mended == {"answer found away from its offset": Dropped(2, place)}
    assert "2 mended: answer found away from its offset, first at" in str(report)


def test_the_first_answer_that_is_where_the_file_says_counts(tmp_path: Path) -> None:
    part = paragraph("de", 0, True)
    good = part["qas"][1]["answers"][0]
    part["qas"][1]["answers"] = [{**good, "answer_start": 0}, {**good, "answer_start": 10_000}, good]
    part["qas"][2]["answers"][0]["answer_start"] = str(part["qas"][2]["answers"][0]["answer_start"])
    rows, report = read_squad({"de": write(tmp_path / "de.json", [part])})
    assert rows["positive"][:] == ["Dr.0 Elster nistet z. B. im Hof.", "Sie0 legt fünf Eier!", "Und0 dann?"]
    assert report.dropped == {}


def test_byte_order_marks_compression_and_the_flat_form_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = paragraph("de", 0, False)
    path = write(tmp_path / "de.json", [part])
    expected = read_squad(tmp_path).rows.to_list()
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_squad(tmp_path).rows.to_list() == expected
    (tmp_path / "gz").mkdir()
    (tmp_path / "gz" / "de.json.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert read_squad(tmp_path / "gz").rows.to_list() == expected
    flat = [
        {
            "question_id": question["id"],
            "context": part["context"],
            "question": question["question"],
            "answers": {key: [answer[key] for answer in question["answers"]] for key in ("text", "answer_start")},
        }
        for question in part["qas"]
    ]
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "train.de.jsonl").write_text("\n".join(map(json.dumps, flat)), encoding="utf-8")
    assert read_squad(tmp_path / "flat").rows.to_list() == expected
    path.write_text(json.dumps({"data": flat}), encoding="utf-8")
    assert read_squad({"de": path}).rows.to_list() == expected
    assert expected
    splits = DatasetDict(train=Dataset.from_list(flat), test=Dataset.from_list(flat[:1]))
    splits.save_to_disk(tmp_path / "saved")
    splits["train"].to_parquet(tmp_path / "one.parquet")
    (tmp_path / "folder").mkdir()
    splits["train"].to_parquet(tmp_path / "folder" / "train.parquet")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    for name in ("saved", "folder", "one.parquet"):
        assert read_squad({"de": tmp_path / name}).rows.to_list() == expected
    assert read_squad({"de": tmp_path / "saved"}, split="test").rows.to_list() == expected[:1]
    with pytest.raises(ValueError, match=r"de\.json is a file and has no split 'test'"):
        read_squad({"de": path}, split="test")
    with pytest.raises(FileNotFoundError, match="nobody/nothing is neither a file or folder nor a data set"):
        read_squad({"de": "nobody/nothing"})


def test_files_of_a_folder_by_their_languages(tmp_path: Path) -> None:
    names = {"xquad.de.json": "de", "train_zh-Hans.json": "zh-Hans", "dev-v1.1-pt.json": "pt", "el.json": "el"}
    for name in names:
        write(tmp_path / name, [paragraph("de", 0, True)])
    assert set(read_squad(tmp_path).report.languages) == set(names.values())
    assert set(read_squad(tmp_path, languages=["el", "de"]).report.languages) == {"el", "de"}
    with pytest.raises(FileNotFoundError, match="There is no file for fr, only for"):
        read_squad(tmp_path, languages=["fr"])
    write(tmp_path / "squad.de.json", [])
    with pytest.raises(ValueError, match=r"squad\.de\.json and .*xquad\.de\.json both end in 'de'"):
        read_squad(tmp_path)
    write(tmp_path / "german.json", [])
    with pytest.raises(
        ValueError, match=r"german\.json: the name does not end .* name its language: de=.*german\.json"
    ):
        read_squad(tmp_path)


def test_errors(tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "de.json", [paragraph("de", 0, True), paragraph("de", 0, True)])
    with pytest.raises(ValueError, match=r"de\.json \(language de\), article 1, paragraph 0: the question id 'q0\.0'"):
        read_squad(path.parent)
    path.write_text('{"data": [', encoding="utf-8")
    with pytest.raises(ValueError, match=r"de\.json \(language de\) is not valid JSON: .* line 1 column 11"):
        read_squad(path.parent)
    path.write_text('{"rows": []}', encoding="utf-8")
    with pytest.raises(ValueError, match="is not in the SQuAD format: it has no 'data' list"):
        read_squad(path.parent)
    with pytest.raises(ValueError, match=r"There are no rows in .*de\.json"):
        read_squad({"de": write(path, [])})
    part = paragraph("de", 0, True)
    part["qas"] = [{**question, "answers": []} for question in part["qas"]]
    with pytest.raises(ValueError, match=r"No row is left: 0 of 3 rows kept.* 3 left out: question without an answer"):
        read_squad({"de": write(path, [part])})
    with pytest.raises(ValueError, match="positive must be 'sentence' or 'paragraph'"):
        read_squad(path.parent, positive="article")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="no <language>"):
        read_squad(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"There is no file .*none\.json"):
        read_squad({"de": tmp_path / "none.json"})
    with pytest.raises(ValueError, match=r"german=.*: 'german' is not the code"):
        read_squad({"german": path})
