from __future__ import annotations

import numpy as np
import pytest

from st_hybrid.retrieval.metrics import average_precision, pessimistic_ranks, recall_at


def test_ranks_without_ties_are_the_counts() -> None:
    assert pessimistic_ranks(np.array([5, 1, 2]), np.array([0, 0, 1])).tolist() == [5, 1, 2]


def test_tied_relevant_candidates_take_the_last_places_of_their_tie() -> None:
    # Ranking 0: one candidate above, then three relevant ones and one other tie in places 2 to 5.
    assert pessimistic_ranks(np.array([5, 5, 5, 9]), np.array([0, 0, 0, 1])).tolist() == [3, 4, 5, 9]


def test_average_precision_and_recall() -> None:
    ranks, rankings = np.array([4, 1, 2]), np.array([0, 0, 2])
    assert average_precision(ranks, rankings, 3) == pytest.approx([(1 / 1 + 2 / 4) / 2, np.nan, 1 / 2], nan_ok=True)
    assert recall_at(1, ranks, rankings, 3) == pytest.approx([0.5, np.nan, 0.0], nan_ok=True)
    assert recall_at(4, ranks, rankings, 3) == pytest.approx([1.0, np.nan, 1.0], nan_ok=True)


def test_nothing_relevant() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert len(pessimistic_ranks(none, none)) == 0
    assert np.isnan(average_precision(none, none, 2)).all()
