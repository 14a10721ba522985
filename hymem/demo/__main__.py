"""``python -m hymem.demo``: a conversation of nine months, twelve questions, no key, no network."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hymem.demo.questions import conversation
from hymem.demo.run import Result, ask_all, ingest
from hymem.memory import HyMem
from hymem.types import Turn


def main() -> int:
    """Run the demo in a temporary database; 0 when it ran, whatever the answers."""
    console = Console()
    console.print(
        "[bold]HyMem demo[/bold]: two friends chat from January to November 2025. No language "
        "model is used:\nanswers are picked from the conversation by rules."
    )
    with TemporaryDirectory() as folder, HyMem(Path(folder) / "demo.db", llm=None) as memory:
        _ingest(console, memory)
        results = list(ask_all(memory))
        for result in results:
            _show(console, result)
        _summary(console, results)
    return 0


def _ingest(console: Console, memory: HyMem) -> None:
    columns = (TextColumn("Remembering"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("messages", total=len(conversation()))
        ingest(memory, lambda added: progress.advance(task, added))
    status = memory.status(all_scopes=True)
    console.print(f"{status.turns} turns and {status.units} units saved.\n")


def _show(console: Console, result: Result) -> None:
    """One question with its answer, tier, evidence and cost."""
    verdict = "[green]right[/green]" if result.right else "[red]wrong[/red]"
    answer = result.answer
    console.print(f"[bold]{result.question.question}[/bold]  [dim]{result.question.category}[/dim]")
    console.print("  ", answer.text, style="cyan", markup=False, highlight=False, end=" ")
    console.print(f" {verdict}", highlight=False)
    usd = "unknown" if answer.usage.usd is None else f"${answer.usage.usd:.2f}"
    console.print(
        f"  [dim]tier {answer.tier} · read {answer.tokens} tokens · {usd} · "
        f"{1000 * result.seconds:.0f} ms[/dim]",
        highlight=False,
    )
    for turn in result.cited:
        console.print("   ", _quote(turn), style="dim", markup=False, highlight=False)
    console.print()


def _quote(turn: Turn) -> str:
    day = f"{turn.time:%d %b %Y}" if turn.time else "undated"
    return f"{turn.source_id} {day} {turn.speaker}: {turn.text}"


def _summary(console: Console, results: Sequence[Result]) -> None:
    table = Table("category", "right", title="Right answers with the right evidence")
    for category in dict.fromkeys(result.question.category for result in results):
        verdicts = [result.right for result in results if result.question.category == category]
        table.add_row(category, f"{sum(verdicts)} of {len(verdicts)}")
    table.add_row("all", f"{sum(result.right for result in results)} of {len(results)}")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
