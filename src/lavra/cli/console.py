"""What the terminal shows: progress with a rate and what is left, answers as they stream, pedigrees as trees."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from lavra.assistants.events import Answer, Citation, Event
    from lavra.store import Trace

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

BYTES = ("Pulling", "Reading files")
"""Steps that count bytes; the others count things."""


@contextmanager
def progress() -> Iterator[Any]:
    """``with progress() as report: report("Reading", done, total)``: bars in a terminal, a line a step elsewhere."""
    if not err.is_terminal:
        yield _Lines()
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    amount, rate = TextColumn("{task.fields[amount]}"), TextColumn("{task.fields[rate]}")
    bars = Progress(TextColumn("{task.description}"), BarColumn(), amount, rate, TimeRemainingColumn(), console=err)
    tasks: dict[str, Any] = {}
    started: dict[str, float] = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            bars.start()
            tasks[what] = bars.add_task(what, total=total or None, amount="", rate="")
        if what not in started or not done:  # a step of the same name begins again
            started[what] = time.monotonic()
        seconds = max(time.monotonic() - started[what], 1e-3)
        rate = f"{done / seconds / 1e6:.1f} MB/s" if what.startswith(BYTES) else f"{done / seconds:.1f}/s"
        bars.update(tasks[what], completed=done, total=total or None, amount=_amount(what, done, total), rate=rate)

    try:
        yield report
    finally:
        bars.stop()


def _amount(what: str, done: int, total: int) -> str:
    """``3 of 12``, or ``3``; of bytes in the unit that fits all of them."""
    if not what.startswith(BYTES):
        return f"{done:,} of {total:,}" if total else f"{done:,}"
    if max(done, total) < 1_000:
        return f"{done} of {total} bytes" if total else f"{done} bytes"
    size, unit = next(
        ((size, unit) for size, unit in ((1e9, "GB"), (1e6, "MB")) if max(done, total) >= size), (1e3, "kB")
    )
    digits = 0 if unit == "kB" or max(done, total) >= 10 * size else 1
    return (
        f"{done / size:.{digits}f} of {total / size:.{digits}f} {unit}" if total else f"{done / size:.{digits}f} {unit}"
    )


class _Lines:
    """Progress for a log: the first and the last state of each step, and one line in ten seconds between."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._started: dict[str, float] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        begun = self._started.setdefault(what, now) if done else now
        self._started[what] = begun
        finished = bool(total) and done >= total
        if finished and self._last.get(what) == -1:
            return
        # What counts up to nothing known has not told anything before some time has gone by.
        before = begun if done and not total else begun - 11
        if not finished and now - self._last.get(what, before) < 10:
            return
        self._last[what] = -1 if finished else now
        seconds = now - begun
        rate = f", {done / seconds:.1f}/s" if seconds > 1 and not what.startswith(BYTES) else ""
        print(f"{what}: {_amount(what, done, total)}{rate}", file=sys.stderr, flush=True)


def show_answer(events: Iterable[Event], *, show_sources: bool = True) -> Answer:
    """Print an answer as it streams, then its sources; returns it."""
    from lavra.assistants.events import Retrieved, TextDelta

    found: Retrieved | None = None
    answer: Answer | None = None
    for event in events:
        if isinstance(event, Retrieved):
            found = event
        elif isinstance(event, TextDelta):
            print(event.text, end="", flush=True)
        else:
            answer = event
    print(flush=True)
    assert answer is not None
    if answer.finish_reason == "length":
        err.print("[dim](cut at the token limit: raise it with --max-tokens)[/dim]")
    if show_sources and answer.citations:
        print()
        for citation in answer.citations:
            show_citation(citation)
    elif show_sources and found and found.citations and not answer.answerable:
        print()
        err.print(f"[dim]Nearest, but not near enough (confidence {found.confidence:.2f}):[/dim]")
        for citation in found.citations[:3]:
            err.print(f"[dim]  {_escape(citation.place)}[/dim]")
    return answer


def show_citation(citation: Citation) -> None:
    """``[1] manual.pdf, p. 3`` and the quote."""
    quote = " ".join(citation.quote.split())
    out.print(f"[bold]\\[{citation.number}][/bold] {_escape(citation.place)}")
    out.print(f"    [italic]“{_escape(quote)}”[/italic]")


def show_trace(trace: Trace) -> None:
    """Print a pedigree as a tree."""
    from rich.tree import Tree

    def line(node: Trace) -> str:
        role = f"[dim]{node.role}:[/dim] " if node.role else ""
        if node.manifest is None:
            return f"{role}[bold]{node.id}[/bold] [red]no longer in the store[/red]"
        manifest = node.manifest
        figures = {name: value for name, value in manifest.metrics.items() if value and not isinstance(value, list)}
        facts = [manifest.made, *(f"{value} {name}" for name, value in sorted(figures.items()))]
        if manifest.licences:
            facts.append(", ".join(manifest.licences))
        for key in ("reference", "name"):
            if key in manifest.recipe:
                facts.append(str(manifest.recipe[key]))
                break
        facts += [f"from {root}" for root in manifest.recipe.get("roots", ())]
        if manifest.erased:
            facts.append(f"[red]erased {manifest.erased['time']}[/red]")
        return f"{role}[bold]{node.id}[/bold]  " + _escape(" · ".join(facts)).replace("\\[red]", "[red]").replace(
            "\\[/red]", "[/red]"
        )

    def grow(tree: Tree, node: Trace) -> None:
        for child in node.inputs:
            grow(tree.add(line(child)), child)

    tree = Tree(line(trace))
    grow(tree, trace)
    out.print(tree)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
