from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from st_hybrid.evaluation.plots import plot_top_languages

POOL = {"en": 30, "de": 10}
OWN = {"en": {"en": 1.0, "de": 0.0}, "de": {"en": 0.0, "de": 1.0}}
EVEN = {"en": {"en": 0.75, "de": 0.25}, "de": {"en": 0.75, "de": 0.25}}


def brightest(path: Path) -> float:
    """Share of the picture in the colour that stands for the largest share."""
    pixels = matplotlib.image.imread(path)[..., :3]
    return float((np.abs(pixels - matplotlib.colormaps["viridis"](1.0)[:3]) < 0.01).all(axis=-1).mean())


def test_a_cell_is_as_bright_as_its_share(tmp_path: Path) -> None:
    plot_top_languages({"plain": OWN}, POOL, tmp_path / "own.png", title="own language first")
    plot_top_languages({"plain": EVEN}, POOL, tmp_path / "even.png", title="as in the pool")
    own, even = brightest(tmp_path / "own.png"), brightest(tmp_path / "even.png")
    assert own > 0.1  # the diagonal
    assert even == pytest.approx(1.5 * own, rel=0.1)  # the English column, with the pool's row below it


def test_heat_maps_of_one_picture_have_the_same_scale(tmp_path: Path) -> None:
    plot_top_languages({"plain": OWN, "centred": EVEN, "other": EVEN}, POOL, tmp_path / "one.png")
    plot_top_languages({"plain": OWN, "centred": OWN, "other": OWN}, POOL, tmp_path / "three.png")
    # The 75% of the others are not at the top of the scale, as they would be on their own.
    assert brightest(tmp_path / "three.png") == pytest.approx(3 * brightest(tmp_path / "one.png"), rel=0.1)


def test_a_language_without_questions_and_eleven_languages(tmp_path: Path) -> None:
    plot_top_languages({"plain": {"en": OWN["en"]}}, POOL, tmp_path / "one-row.png")
    codes = [f"l{number}" for number in range(11)]
    shares = {query: dict.fromkeys(codes, 1 / 11) for query in codes}
    plot_top_languages({"plain": shares}, dict.fromkeys(codes, 5), tmp_path / "eleven.png", title="long " * 40)
    height, width = matplotlib.image.imread(tmp_path / "eleven.png").shape[:2]
    assert width < 1500
    assert height < 1500


@pytest.mark.parametrize("variants", [{}, {"plain": {}}])
def test_nothing_to_draw(variants: dict[str, dict[str, dict[str, float]]], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no shares"):
        plot_top_languages(variants, POOL, tmp_path / "none.png")
    assert not list(tmp_path.iterdir())
