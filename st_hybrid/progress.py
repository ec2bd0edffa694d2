"""Progress bars on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def progress_bar(
    total: int | None, description: str, *, show: bool = True, unit: str = "", done: int = 0
) -> Iterator[Callable[[int], None]]:
    """Show a progress bar while the block runs.

    Args:
        total: Number of units of work; None if unknown.
        description: Text in front of the bar.
        show: Show the bar. With False the function that is yielded does nothing.
        unit: Name of the units, in the plural.
        done: Units that an earlier run completed.

    Yields:
        A function that takes the number of units just done.

    Example:
        ::

            from st_hybrid.progress import progress_bar

            with progress_bar(100, "Encoding", unit="texts") as advance:
                for _ in range(10):
                    advance(10)
    """
    amount = TextColumn(
        "{task.completed:,.0f}" + ("" if total is None else f"/{total:,}") + (f" {unit}" if unit else "")
    )
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeElapsedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not show or not console.is_terminal) as progress:
        task = progress.add_task(description, total=total, completed=done)
        yield lambda units: progress.update(task, advance=units)
