"""XQuAD-R, MLQA-R and other data in the LAReQA format (https://arxiv.org/abs/2004.05484), found or downloaded."""

import os
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch

from st_hybrid.evaluation.collection import RetrievalCollection
from st_hybrid.evaluation.squad import sentence_at, squad_paragraphs
from st_hybrid.files import cache_folder, replacing, sha256
from st_hybrid.progress import progress_bar


class LareqaFile(NamedTuple):
    """The published file of one language: its numbers of queries and of passages (sentences), and its SHA-256."""

    queries: int
    passages: int
    sha256: str


HOME = "https://raw.githubusercontent.com/google-research-datasets/lareqa"
"""Address of the files: ``<HOME>/<commit>/<data set>/<language>.json``."""
COMMITS = {"XQuAD-R": "9bc8c7fb6dd8d01d72a05a93c2cb96882b0d299c", "MLQA-R": "354d67d1cd066854cdfbf5ad0e6105528976141d"}
"""Commit of the repository that each data set is taken from; later ones lack MLQA-R."""
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
_TRIES = 4  # of a download
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
    """Load XQuAD-R or MLQA-R from a local folder, or download it once into the cache folder.

    Args:
        name: ``"XQuAD-R"`` or ``"MLQA-R"``.
        data_dir: Folder with ``xquad-r/<language>.json``; by default ``ST_HYBRID_DATA``, else a download.
        languages: Languages to load; by default all published ones, with ``verify=False`` all of the local folder.
        verify: Refuse local files that are not the published ones. Downloaded files are always verified.
        show_progress_bar: Show the progress of a download.

    Raises:
        ValueError: A file is malformed or not the published one, the name or a language was not published, or
            ``verify=False`` has no effect because the files are downloaded.
        FileNotFoundError: Files are missing and cannot be downloaded; the message says where to put them.

    Example:
        ::

            from st_hybrid.evaluation import load_lareqa

            print(load_lareqa("XQuAD-R").passage_counts)
    """
    folder = lareqa_folder(name, data_dir, languages, verify=verify, show_progress_bar=show_progress_bar)
    return read_lareqa(folder, languages or (list(PUBLISHED[name]) if verify else None), name)


def lareqa_folder(
    name: str,
    data_dir: str | Path | None = None,
    languages: Sequence[str] | None = None,
    *,
    verify: bool = True,
    show_progress_bar: bool = True,
) -> Path:
    """Folder with the files of XQuAD-R or MLQA-R, downloaded if there is no local one: see :func:`load_lareqa`."""
    if name not in PUBLISHED:
        raise ValueError(f"The data set must be one of {', '.join(PUBLISHED)}, got {name!r}.")
    published, wanted = PUBLISHED[name], list(PUBLISHED[name] if languages is None else dict.fromkeys(languages))
    if unknown := [repr(language) for language in wanted if language not in published]:
        raise ValueError(f"{name} was not published in {', '.join(unknown)}, only in {', '.join(published)}.")
    if not wanted:
        raise ValueError(f"Name at least one language of {name}, or leave languages out for all of them.")

    place = f"{COMMITS[name]}/{name.lower()}"
    local = data_dir or os.environ.get("ST_HYBRID_DATA")
    folder = Path(local).expanduser() / name.lower() if local else cache_folder() / "lareqa" / place
    paths = {language: folder / f"{language}.json" for language in wanted}

    def wrong() -> list[str]:
        return [one for one, path in paths.items() if not path.is_file() or sha256(path) != published[one].sha256]

    if not local and not verify:
        raise ValueError(f"verify=False has no effect on {name}: downloaded files are always verified. Name a folder.")
    if local and verify and (lacking := wrong()):
        files = ", ".join(paths[one].name for one in lacking)
        raise (ValueError if all(path.is_file() for path in paths.values()) else FileNotFoundError)(
            f"{name}: {folder} does not hold the published files: {files} is missing or has another SHA-256. Put the "
            f"files of {HOME}/{place} there unchanged, name no folder (also not in the variable ST_HYBRID_DATA) to "
            "download them, or pass verify=False (--no-verify) to use other data."
        )
    if not local and (lacking := wrong()):
        try:
            # Read now, because huggingface_hub reads it only when it is imported.
            if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
                raise OSError("the variable HF_HUB_OFFLINE forbids downloads")
            sums = {paths[one].name: published[one].sha256 for one in lacking}
            _download(f"{HOME}/{place}/", folder, sums, f"Downloading {name}", show_progress_bar)
        except (OSError, ValueError) as error:  # no connection, no permission to write, or another SHA-256
            addresses = "".join(f"  {HOME}/{place}/{one}.json\n" for one in wrong())
            raise FileNotFoundError(
                f"{name}: {str(error).rstrip('.')}. The cache lacks these files:\n{addresses}"
                f"Download them elsewhere and put them unchanged into {folder}, or put all files of {name} into a "
                f"folder {name.lower()} and name its parent in the variable ST_HYBRID_DATA. The variable "
                "ST_HYBRID_CACHE moves the cache."
            ) from error
    return folder


def _download(base_url: str, folder: Path, sums: dict[str, str], description: str, show_progress_bar: bool) -> None:
    fetch = pooch.HTTPDownloader(timeout=30)
    with progress_bar(len(sums), description, show=show_progress_bar, unit="files") as advance:
        for file, expected in sums.items():
            for left in reversed(range(_TRIES)):
                try:
                    with replacing(folder / file) as temporary:
                        fetch(f"{base_url}{file}", str(temporary), None)
                        if (found := sha256(temporary)) != expected:
                            raise OSError(f"{file} has the SHA-256 {found}, not {expected}")
                    break
                except (OSError, ValueError) as error:
                    if not left:
                        raise OSError(f"the download failed: {error}") from error
                    time.sleep(_TRIES - left)
            advance(1)


def read_lareqa(
    folder: str | Path, languages: Sequence[str] | None = None, name: str | None = None
) -> RetrievalCollection:
    """Read a folder of ``<language>.json`` files in the LAReQA format.

    A file is SQuAD's JSON with ``sentence_breaks`` in each paragraph, a list of (start, end) character offsets. Every
    sentence is a passage. It is relevant to a query if an answer to the question of the same id starts in it.

    Args:
        folder: Folder with the files.
        languages: Language codes to read, in this order; by default every ``.json`` file of the folder.
        name: Name of the collection; by default the folder's, with the case of ``XQuAD-R`` and ``MLQA-R``.

    Raises:
        FileNotFoundError: A language's file is missing.
        ValueError: A file is malformed; the message names file, language and paragraph.

    Example:
        ::

            from st_hybrid.evaluation import read_lareqa

            collection = read_lareqa("data/my-questions", name="my questions")
    """
    folder = Path(folder)
    name = name or next((known for known in PUBLISHED if known.lower() == folder.name.lower()), folder.name)
    languages = languages or sorted(path.stem for path in folder.glob("*.json"))
    missing = [f"{language}.json" for language in languages if not (folder / f"{language}.json").is_file()]
    if missing or not languages:
        lacking = ", ".join(missing) or "<language>.json files"
        raise FileNotFoundError(f"{name}: {folder} lacks {lacking}. Put them there, or name the languages to read.")

    questions: list[dict[str, str]] = []  # by language: text by id
    passages: list[tuple[str, str, int, int]] = []  # id, text, language, context
    answers: dict[str, list[int]] = defaultdict(list)  # passage numbers by question id
    context = 0
    for code, language in enumerate(languages):
        questions.append({})
        for paragraph in squad_paragraphs(folder / f"{language}.json", language):
            if paragraph.breaks is None:
                raise ValueError(f"{paragraph.where}: not in the LAReQA format (it has no 'sentence_breaks').")
            for question in paragraph.questions:
                places = {answer.start: sentence_at(paragraph.breaks, answer.start) for answer in question.answers}
                if not places:
                    raise ValueError(f"{paragraph.where}: question {question.id!r} has no answer.")
                if outside := [start for start, place in places.items() if place is None]:
                    raise ValueError(
                        f"{paragraph.where}: the answer to question {question.id!r} starts at character {outside[0]}, "
                        "outside every sentence."
                    )
                questions[-1][question.id] = question.text
                found = {len(passages) + place for place in places.values() if place is not None}
                answers[question.id] += sorted(found)
            prefix = f"{language}-{paragraph.article}-{paragraph.number}"
            for place, (start, end) in enumerate(paragraph.breaks):
                passages.append((f"{prefix}-{place}", paragraph.text[start:end], code, context))
            context += 1

    query_ids = [identifier for asked in questions for identifier in asked]
    return RetrievalCollection(
        name=name,
        languages=tuple(languages),
        query_ids=query_ids,
        queries=[text for asked in questions for text in asked.values()],
        query_languages=np.repeat(np.arange(len(questions)), list(map(len, questions))),
        passage_ids=[identifier for identifier, *_ in passages],
        passages=[text for _, text, *_ in passages],
        passage_languages=np.array([code for *_, code, _ in passages]),
        relevant_queries=np.repeat(np.arange(len(query_ids)), [len(answers[question]) for question in query_ids]),
        relevant_passages=np.array([passage for question in query_ids for passage in answers[question]]),
        passage_contexts=np.array([context for *_, context in passages]),
    )
