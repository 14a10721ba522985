"""How far a measurement is, for whoever waits."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[], object]


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Advance]:
    """A progress bar on standard error, on a terminal only."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(file=sys.stderr)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda: bar.advance(task)
    if not console.is_terminal:
        print(f"{label}: done", file=sys.stderr)
