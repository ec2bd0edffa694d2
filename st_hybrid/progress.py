"""Progress bars on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def progress_bar(
    total: int | None, description: str, *, show: bool = True, unit: str = "", done: int = 0
) -> Iterator[Callable[[int], None]]:
    """Show a progress bar while the block runs, if ``show`` is set and standard error is a terminal.

    Of ``total`` units (None if unknown) an earlier run completed ``done``. Yields a function of the units just done.
    """
    amount = "{task.completed:,.0f}" + ("" if total is None else f"/{total:,}") + f" {unit}".rstrip()
    columns = ("{task.description}", BarColumn(), TextColumn(amount), TimeElapsedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not show or not console.is_terminal) as progress:
        task = progress.add_task(description, total=total, completed=done)
        yield lambda units: progress.update(task, advance=units)
