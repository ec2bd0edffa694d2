"""Where the files of XQuAD-R and MLQA-R come from: a local folder, or their public home, pinned and verified.

Both data sets are published in https://github.com/google-research-datasets/lareqa (Roy et al. 2020,
https://arxiv.org/abs/2004.05484), MLQA-R up to the commit named here only: later ones removed it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from st_hybrid.evaluation.download import fetch, has_sha256
from st_hybrid.files import cache_folder
from st_hybrid.files import sha256 as file_sha256

HOME = "https://raw.githubusercontent.com/google-research-datasets/lareqa"
"""Address below which the files are published, as ``<commit>/<data set>/<language>.json``."""

COMMITS = {
    "XQuAD-R": "9bc8c7fb6dd8d01d72a05a93c2cb96882b0d299c",
    "MLQA-R": "354d67d1cd066854cdfbf5ad0e6105528976141d",
}
"""Commit of the repository that each data set is taken from."""

SHA256 = {
    "XQuAD-R": {
        "ar": "c52922d3b8ac1ae03ed5ac38647ad59870dca3dda2beefe18ecdc30729acb69d",
        "de": "16fb0f4bf4916154b585a20c24c66074591c9718a1affe764ff4697572328949",
        "el": "163fd43ee785a30eb534ae2061e9eaa766a7ee4e8ffce5e4b422480c150f64b6",
        "en": "7b0954f39297c27a31fef610f0883337dd2907fa8699151dc922afdd0fa12ffe",
        "es": "f8e836b2d91009c4363e04315f7ede363eedbbb49c67dda60de6c4aa782f58de",
        "hi": "ea45ba8ae4513d1533b222bebdc02a90bc319c055d3aeea68584a053d2e92872",
        "ru": "7f4dff853538b9a5fcc28c070b8bb983a5c5d190ac747b8e005a1ada9cab18f1",
        "th": "c3a041864c3a9fb0b4dd91cfdf99cf36b411b3e704c58a303c97bc6dc786cfe4",
        "tr": "f3e8c13002bbce154a4578f535f7533cb70f3da08840e6b62735935baec7bd94",
        "vi": "e35926bf5cc6fc6ecbdfca49467aabeb454f08d152d7818143a906bd31dde995",
        "zh": "80c2cde7b9c2fb134c303cbb52f2ba396ead9eb0014aec43993543d2ba9e93ed",
    },
    "MLQA-R": {
        "ar": "2132fbc03208535c0fe01f2e2c5121d06f9c2aa799af93b0a719dbc105bdf137",
        "de": "ce9454dc5aa6f2d85c23cd6e49cb367fbb7c4c6e62d7f71e355c6b5dae4d0886",
        "en": "fedd9a5cc0848dda80caf84aa36f482adaae230526a3f6e9e86926a93ef3b1e4",
        "es": "70ecba276b8c96a692b120693a595d076ce94ad21d4b28311538a9fcbfe0f9d7",
        "hi": "4dd0fb3c06f737a5481d705bc1dcac7876712a5815c9265908fbb3a0696cb654",
        "vi": "9d3baff6ba03e6793b25594217265ea59a136b9733833dca8a9582a84a78ff85",
        "zh": "57f01d2fff50cf3392805635b01445339f225ad5bf28ba8443b12f8dbd1e69dc",
    },
}
"""SHA-256 of each language's file at those commits."""

# The longest file of XQuAD-R has 2.8 MB; whatever a server sends, no more than this is stored.
_MAX_BYTES = 64 * 2**20


def lareqa_folder(
    name: str,
    data_dir: str | Path | None = None,
    languages: Sequence[str] | None = None,
    *,
    verify: bool = True,
    base_url: str | None = None,
    show_progress_bar: bool = True,
) -> Path:
    """Folder with the ``<language>.json`` files of XQuAD-R or MLQA-R, fetched if there is no local one.

    A local folder is the one given, or else the one that the variable ``ST_HYBRID_DATA`` names; with it no network is
    touched. Without one, the files come from their public home into the folder that ``ST_HYBRID_CACHE`` names, or else
    into the user's cache folder, where later calls find them. Every call compares every file with its published
    SHA-256, which takes hundredths of a second. Nothing is fetched where ``HF_HUB_OFFLINE`` is set.

    Args:
        name: ``"XQuAD-R"`` or ``"MLQA-R"``.
        data_dir: Folder that holds ``xquad-r/<language>.json`` and ``mlqa-r/<language>.json``.
        languages: Languages whose files are needed. By default all that were published; with ``verify=False`` those of
            the local folder.
        verify: Refuse files of a local folder that are not the published ones, byte for byte. Leave it on unless
            other data in the same format are meant. Fetched files are always verified.
        base_url: Mirror to fetch from in place of :data:`HOME`, laid out like it; it may be an ``http`` address.
        show_progress_bar: Show on the standard error stream how far the files have come.

    Returns:
        The folder, for :func:`read_lareqa`.

    Raises:
        ValueError: The name or a language was not published, a local file is not the published one, or a link leads
            out of the cache folder.
        FileNotFoundError: Files are missing and cannot be fetched; the message says where they are, and where to put
            them.

    Example:
        ::

            from st_hybrid.evaluation import lareqa_folder, read_lareqa

            collection = read_lareqa(lareqa_folder("XQuAD-R"))
    """
    if name not in SHA256:
        raise ValueError(f"The data set must be one of {', '.join(SHA256)}, got {name!r}.")
    wanted = list(SHA256[name]) if languages is None else list(dict.fromkeys(languages))
    if unknown := [language for language in wanted if language not in SHA256[name]]:
        raise ValueError(
            f"{name} was not published in {', '.join(map(repr, unknown))}, only in {', '.join(SHA256[name])}."
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
    return _cached(name, wanted, base_url, show_progress_bar)


def _check_local(name: str, folder: Path, languages: Sequence[str], verify: bool) -> None:
    lacking = [f"{language}.json" for language in languages if not (folder / f"{language}.json").is_file()]
    if lacking or not languages:
        raise FileNotFoundError(
            f"{name}: {folder} lacks {', '.join(lacking) or '<language>.json files'}. Put them there, or name no "
            "folder (nor one in the variable ST_HYBRID_DATA) to have them fetched."
        )
    if not verify:
        return
    wrong = [
        f"{language}.json has {found} in place of {SHA256[name][language]}"
        for language in languages
        if (found := file_sha256(folder / f"{language}.json")) != SHA256[name][language]
    ]
    if wrong:
        raise ValueError(
            f"{name}: {folder} does not hold the published files, by their SHA-256: {'; '.join(wrong)}. Put the files "
            f"of {HOME}/{COMMITS[name]}/{name.lower()}/<language>.json there unchanged, name no folder (nor one in "
            "the variable ST_HYBRID_DATA) to have them fetched, or pass verify=False (--no-published-counts) if other "
            "data are meant."
        )


def _cached(name: str, languages: Sequence[str], base_url: str | None, show_progress_bar: bool) -> Path:
    cache = cache_folder()
    folder = cache / "lareqa" / COMMITS[name] / name.lower()
    paths = {language: folder / f"{language}.json" for language in languages}
    for path in paths.values():
        if not path.resolve().is_relative_to(cache.resolve()):
            raise ValueError(f"{path} is a link, or lies in one, that leads out of the cache folder: remove it.")

    lacking = _lacking(name, paths)
    if not lacking:
        return folder
    # Read now rather than from huggingface_hub, which looks once when it is imported.
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise FileNotFoundError(_how_to_get(name, folder, lacking, "the variable HF_HUB_OFFLINE forbids fetching"))
    address = f"{(base_url or HOME).rstrip('/')}/{COMMITS[name]}/{name.lower()}"
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not show_progress_bar) as progress:
        for language, path in lacking.items():
            try:
                fetch(
                    f"{address}/{path.name}",
                    path,
                    sha256=SHA256[name][language],
                    max_bytes=_MAX_BYTES,
                    allow_http=base_url is not None,
                    progress=progress,
                )
            except OSError as error:  # a DownloadError, or a cache folder where nobody can write
                reason = f"fetching failed: {error}".rstrip(".")
                raise FileNotFoundError(_how_to_get(name, folder, _lacking(name, paths), reason)) from error
    return folder


def _lacking(name: str, paths: dict[str, Path]) -> dict[str, Path]:
    return {language: path for language, path in paths.items() if not has_sha256(path, SHA256[name][language])}


def _how_to_get(name: str, folder: Path, lacking: dict[str, Path], reason: str) -> str:
    addresses = "\n".join(f"  {HOME}/{COMMITS[name]}/{name.lower()}/{path.name}" for path in lacking.values())
    return (
        f"{name}: {reason}. The cache lacks, or has damaged:\n{addresses}\n"
        f"Fetch them elsewhere and put them unchanged into {folder}, or put all files of {name} into a folder "
        f"{name.lower()} and name the one that holds it in the variable ST_HYBRID_DATA. (The variable ST_HYBRID_CACHE "
        "names another cache folder.)"
    )
