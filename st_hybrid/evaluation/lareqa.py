"""XQuAD-R, MLQA-R and other data in the LAReQA format: files found or downloaded, verified and read.

Both data sets are published at https://github.com/google-research-datasets/lareqa (Roy et al. 2020,
https://arxiv.org/abs/2004.05484), MLQA-R only up to the commit named here: later ones removed it.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch

from st_hybrid.evaluation.collection import RetrievalCollection
from st_hybrid.evaluation.squad import Paragraph, Question, sentence_at, squad_paragraphs
from st_hybrid.files import cache_folder, sha256
from st_hybrid.progress import progress_bar


class LareqaFile(NamedTuple):
    """The published file of one language: its numbers of queries and of passages (sentences), and its SHA-256."""

    queries: int
    passages: int
    sha256: str


HOME = "https://raw.githubusercontent.com/google-research-datasets/lareqa"
"""Address of the files: ``<HOME>/<commit>/<data set>/<language>.json``."""

COMMITS = {
    "XQuAD-R": "9bc8c7fb6dd8d01d72a05a93c2cb96882b0d299c",
    "MLQA-R": "354d67d1cd066854cdfbf5ad0e6105528976141d",
}
"""Commit of the repository that each data set is taken from."""

PUBLISHED = {
    "XQuAD-R": {
        "ar": LareqaFile(1190, 1222, "c52922d3b8ac1ae03ed5ac38647ad59870dca3dda2beefe18ecdc30729acb69d"),
        "de": LareqaFile(1190, 1276, "16fb0f4bf4916154b585a20c24c66074591c9718a1affe764ff4697572328949"),
        "el": LareqaFile(1190, 1234, "163fd43ee785a30eb534ae2061e9eaa766a7ee4e8ffce5e4b422480c150f64b6"),
        "en": LareqaFile(1190, 1180, "7b0954f39297c27a31fef610f0883337dd2907fa8699151dc922afdd0fa12ffe"),
        "es": LareqaFile(1190, 1215, "f8e836b2d91009c4363e04315f7ede363eedbbb49c67dda60de6c4aa782f58de"),
        "hi": LareqaFile(1190, 1244, "ea45ba8ae4513d1533b222bebdc02a90bc319c055d3aeea68584a053d2e92872"),
        "ru": LareqaFile(1190, 1219, "7f4dff853538b9a5fcc28c070b8bb983a5c5d190ac747b8e005a1ada9cab18f1"),
        "th": LareqaFile(1190, 852, "c3a041864c3a9fb0b4dd91cfdf99cf36b411b3e704c58a303c97bc6dc786cfe4"),
        "tr": LareqaFile(1190, 1167, "f3e8c13002bbce154a4578f535f7533cb70f3da08840e6b62735935baec7bd94"),
        "vi": LareqaFile(1190, 1209, "e35926bf5cc6fc6ecbdfca49467aabeb454f08d152d7818143a906bd31dde995"),
        "zh": LareqaFile(1190, 1196, "80c2cde7b9c2fb134c303cbb52f2ba396ead9eb0014aec43993543d2ba9e93ed"),
    },
    "MLQA-R": {
        "ar": LareqaFile(517, 2545, "2132fbc03208535c0fe01f2e2c5121d06f9c2aa799af93b0a719dbc105bdf137"),
        "de": LareqaFile(512, 2362, "ce9454dc5aa6f2d85c23cd6e49cb367fbb7c4c6e62d7f71e355c6b5dae4d0886"),
        "en": LareqaFile(1148, 6264, "fedd9a5cc0848dda80caf84aa36f482adaae230526a3f6e9e86926a93ef3b1e4"),
        "es": LareqaFile(500, 1787, "70ecba276b8c96a692b120693a595d076ce94ad21d4b28311538a9fcbfe0f9d7"),
        "hi": LareqaFile(507, 2426, "4dd0fb3c06f737a5481d705bc1dcac7876712a5815c9265908fbb3a0696cb654"),
        "vi": LareqaFile(511, 2828, "9d3baff6ba03e6793b25594217265ea59a136b9733833dca8a9582a84a78ff85"),
        "zh": LareqaFile(504, 2322, "57f01d2fff50cf3392805635b01445339f225ad5bf28ba8443b12f8dbd1e69dc"),
    },
}
"""The published files of each data set by language."""

PUBLISHED_COUNTS = {name: {code: file[:2] for code, file in files.items()} for name, files in PUBLISHED.items()}
"""Numbers of queries and passages of each language of the published data sets."""


def load_lareqa(
    name: str,
    data_dir: str | Path | None = None,
    languages: Sequence[str] | None = None,
    *,
    verify: bool = True,
    show_progress_bar: bool = True,
) -> RetrievalCollection:
    """Load XQuAD-R or MLQA-R from a local folder, or download it once.

    Args:
        name: ``"XQuAD-R"`` or ``"MLQA-R"``.
        data_dir: Folder that holds ``xquad-r/<language>.json`` and ``mlqa-r/<language>.json``. By default the one in
            the variable ``ST_HYBRID_DATA``; without it the files are downloaded once into the folder in the variable
            ``ST_HYBRID_CACHE``, or else into the user's cache folder.
        languages: Languages to load. By default all published ones; with ``verify=False`` all that the local folder
            has.
        verify: Refuse local files that are not the published ones, by their SHA-256. Downloaded files are always
            verified.
        show_progress_bar: Show the progress of a download.

    Returns:
        The collection.

    Raises:
        ValueError: A file is malformed or not the published one, or the name or a language was not published.
        FileNotFoundError: Files are missing and cannot be downloaded, for example because ``HF_HUB_OFFLINE`` is set;
            the message names them and says where to put them.

    Example:
        ::

            from st_hybrid.evaluation import load_lareqa

            collection = load_lareqa("XQuAD-R")
            print(collection.passage_counts)
    """
    folder = lareqa_folder(name, data_dir, languages, verify=verify, show_progress_bar=show_progress_bar)
    if languages is None and not verify:
        languages = sorted(path.stem for path in folder.glob("*.json"))
    collection = read_lareqa(folder, languages, name)
    if verify:
        check_counts(collection)
    return collection


def lareqa_folder(
    name: str,
    data_dir: str | Path | None = None,
    languages: Sequence[str] | None = None,
    *,
    verify: bool = True,
    base_url: str = HOME,
    show_progress_bar: bool = True,
) -> Path:
    """Folder with the ``<language>.json`` files of XQuAD-R or MLQA-R, downloaded if there is no local one.

    The arguments and errors are those of :func:`load_lareqa`; ``base_url`` names a mirror of :data:`HOME`.
    """
    if name not in PUBLISHED:
        raise ValueError(f"The data set must be one of {', '.join(PUBLISHED)}, got {name!r}.")
    wanted = list(PUBLISHED[name] if languages is None else dict.fromkeys(languages))
    if unknown := [language for language in wanted if language not in PUBLISHED[name]]:
        raise ValueError(
            f"{name} was not published in {', '.join(map(repr, unknown))}, only in {', '.join(PUBLISHED[name])}."
        )
    if not wanted:
        raise ValueError(f"Name at least one language of {name}, or leave languages out for all of them.")

    local = data_dir or os.environ.get("ST_HYBRID_DATA")
    if local:
        folder = Path(local).expanduser() / name.lower()
        if not verify and languages is None:
            wanted = sorted(path.stem for path in folder.glob("*.json"))
        _check_local(name, folder, wanted, verify)
        return folder
    folder = cache_folder() / "lareqa" / COMMITS[name] / name.lower()
    if lacking := _not_published(name, folder, wanted):
        # Read now, because huggingface_hub reads it only when it is imported.
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
            raise _unavailable(name, folder, lacking, "the variable HF_HUB_OFFLINE forbids downloads")
        _download(name, folder, lacking, base_url, show_progress_bar)
    return folder


def _not_published(name: str, folder: Path, languages: Sequence[str]) -> list[str]:
    """The languages whose file is missing or is not the published one."""
    paths = {language: folder / f"{language}.json" for language in languages}
    return [
        language
        for language, path in paths.items()
        if not path.is_file() or sha256(path) != PUBLISHED[name][language].sha256
    ]


def _check_local(name: str, folder: Path, languages: Sequence[str], verify: bool) -> None:
    lacking = [f"{language}.json" for language in languages if not (folder / f"{language}.json").is_file()]
    if lacking or not languages:
        raise FileNotFoundError(
            f"{name}: {folder} lacks {', '.join(lacking) or '<language>.json files'}. Put them there, or name no "
            "folder (also not in the variable ST_HYBRID_DATA) to download them."
        )
    if verify and (wrong := _not_published(name, folder, languages)):
        raise ValueError(
            f"{name}: {folder} does not hold the published files: the SHA-256 of "
            f"{', '.join(f'{language}.json' for language in wrong)} differs. Put the files of "
            f"{HOME}/{COMMITS[name]}/{name.lower()} there unchanged, name no folder to download them, or pass "
            "verify=False (--no-verify) to evaluate on other data."
        )


def _download(name: str, folder: Path, languages: Sequence[str], base_url: str, show_progress_bar: bool) -> None:
    pooch.get_logger().setLevel("WARNING")
    fetcher = pooch.create(
        path=folder,
        base_url=f"{base_url.rstrip('/')}/{COMMITS[name]}/{name.lower()}/",
        registry={f"{language}.json": f"sha256:{PUBLISHED[name][language].sha256}" for language in languages},
        retry_if_failed=3,
    )
    with progress_bar(len(languages), f"Downloading {name}", show=show_progress_bar, unit="files") as advance:
        for language in languages:
            try:
                fetcher.fetch(f"{language}.json", downloader=pooch.HTTPDownloader(timeout=30))
            except (OSError, ValueError) as error:  # no connection, no permission to write, or another SHA-256
                lacking = _not_published(name, folder, languages)
                raise _unavailable(name, folder, lacking, f"the download failed: {error}".rstrip(".")) from error
            advance(1)


def _unavailable(name: str, folder: Path, languages: Sequence[str], reason: str) -> FileNotFoundError:
    addresses = "\n".join(f"  {HOME}/{COMMITS[name]}/{name.lower()}/{language}.json" for language in languages)
    return FileNotFoundError(
        f"{name}: {reason}. The cache lacks these files:\n{addresses}\n"
        f"Download them elsewhere and put them unchanged into {folder}, or put all files of {name} into a folder "
        f"{name.lower()} and name its parent in the variable ST_HYBRID_DATA. The variable ST_HYBRID_CACHE moves the "
        "cache."
    )


def read_lareqa(
    folder: str | Path,
    languages: Sequence[str] | None = None,
    name: str | None = None,
    *,
    same_questions: bool | None = None,
) -> RetrievalCollection:
    """Read a folder of ``<language>.json`` files in the LAReQA format.

    A file is SQuAD's JSON with ``sentence_breaks`` in each paragraph, a list of (start, end) character offsets. Every
    sentence is a passage. It is relevant to a query, in any language, if an answer to the question of the same id
    starts in it.

    Args:
        folder: Folder with the files.
        languages: Language codes to read, in this order. By default those of the published data set called ``name``,
            or every ``.json`` file of the folder if the name is not one of them.
        name: Name of the collection. By default the published data set whose name the folder has in any case
            (``xquad-r``, ``mlqa-r``), or else the folder's name.
        same_questions: Require the same question ids in all languages. By default only for XQuAD-R; in MLQA-R a
            question exists in two to four languages.

    Raises:
        FileNotFoundError: A language's file is missing.
        ValueError: A file is malformed; the message names file, language and paragraph.

    Example:
        ::

            from st_hybrid.evaluation import read_lareqa

            collection = read_lareqa("data/my-questions", name="my questions")
    """
    folder = Path(folder)
    if name is None:
        name = next((known for known in PUBLISHED if known.lower() == folder.name.lower()), folder.name)
    if languages is None:
        languages = sorted(PUBLISHED.get(name, ())) or sorted(path.stem for path in folder.glob("*.json"))
    if not languages:
        raise FileNotFoundError(f"{name}: no <language>.json file in {folder}.")
    if missing := [f"{language}.json" for language in languages if not (folder / f"{language}.json").is_file()]:
        raise FileNotFoundError(
            f"{name}: {folder} lacks {', '.join(missing)}. Put the file there, or name the languages to read."
        )

    questions: dict[str, dict[str, str]] = {}  # by language: text by id
    passages: list[tuple[str, str, int, int]] = []  # id, text, language, context
    answers: dict[str, list[int]] = defaultdict(list)  # passage numbers by question id
    context = 0
    for code, language in enumerate(languages):
        asked = questions[language] = {}
        for paragraph in squad_paragraphs(folder / f"{language}.json", language, format_name="LAReQA format"):
            if paragraph.breaks is None:
                raise ValueError(f"{paragraph.where}: not in the LAReQA format (it has no 'sentence_breaks').")
            for question in paragraph.questions:
                asked[question.id] = question.text
                answers[question.id] += [len(passages) + place for place in _answered(paragraph, question)]
            prefix = f"{language}-{paragraph.article}-{paragraph.number}"
            passages += [
                (f"{prefix}-{place}", paragraph.text[start:end], code, context)
                for place, (start, end) in enumerate(paragraph.breaks)
            ]
            context += 1
    if same_questions if same_questions is not None else name == "XQuAD-R":
        _check_same_questions(questions, folder)

    query_ids = [identifier for asked in questions.values() for identifier in asked]
    return RetrievalCollection(
        name=name,
        languages=tuple(languages),
        query_ids=query_ids,
        queries=[text for asked in questions.values() for text in asked.values()],
        query_languages=np.repeat(np.arange(len(questions)), [len(asked) for asked in questions.values()]),
        passage_ids=[identifier for identifier, *_ in passages],
        passages=[text for _, text, *_ in passages],
        passage_languages=np.array([code for *_, code, _ in passages]),
        relevant_queries=np.repeat(np.arange(len(query_ids)), [len(answers[question]) for question in query_ids]),
        relevant_passages=np.array([passage for question in query_ids for passage in answers[question]]),
        passage_contexts=np.array([context for *_, context in passages]),
    )


def check_counts(collection: RetrievalCollection) -> None:
    """Raise ValueError if a language's numbers of queries or passages are not the published ones.

    Args:
        collection: XQuAD-R or MLQA-R, in some or all languages.
    """
    published = PUBLISHED_COUNTS.get(collection.name)
    if published is None:
        raise ValueError(f"No counts are published for {collection.name!r}, only for {', '.join(PUBLISHED_COUNTS)}.")
    queries, passages = collection.query_counts, collection.passage_counts
    if wrong := [
        f"{code} has {queries[code]} queries and {passages[code]} passages, published are {published.get(code, 'none')}"
        for code in collection.languages
        if (queries[code], passages[code]) != published.get(code)
    ]:
        raise ValueError(f"{collection.name} is not the published data: {'; '.join(wrong)}.")


def _answered(paragraph: Paragraph, question: Question) -> list[int]:
    """Numbers of the sentences that the question's answers start in."""
    found = set()
    for answer in question.answers:
        sentence = sentence_at(paragraph.breaks or [], answer.start)
        if sentence is None:
            raise ValueError(
                f"{paragraph.where}: the answer to question {question.id!r} starts at character {answer.start}, "
                "outside every sentence."
            )
        found.add(sentence)
    if not found:
        raise ValueError(f"{paragraph.where}: question {question.id!r} has no answer.")
    return sorted(found)


def _check_same_questions(questions: dict[str, dict[str, str]], folder: Path) -> None:
    first = next(iter(questions))
    for language in questions:
        if difference := questions[language].keys() ^ questions[first].keys():
            example = min(difference)
            having, lacking = (first, language) if example in questions[first] else (language, first)
            raise ValueError(
                f"The question ids of {first}.json and {language}.json in {folder} differ in {len(difference)} ids: "
                f"{example!r} is in {having}.json but not in {lacking}.json. If languages need not share their "
                "questions, pass same_questions=False."
            )
