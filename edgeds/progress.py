"""How long work tells what it is doing: steps with a name, and how much of each is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """What the pipeline reports to. Steps may overlap; `total` is 0 where the amount of work is not known."""

    def start(self, step: str, total: int = 0) -> None:
        """A step begins."""

    def update(self, step: str, done: int) -> None:
        """So much of it is done."""

    def finish(self, step: str, note: str = "") -> None:
        """It ended; `note` says how, where there is something to say (`from the cache`)."""

    def warn(self, text: str) -> None:
        """Something that the user should know, once."""


class Silent:
    """Reports nothing: for Python users, and tests."""

    def start(self, step: str, total: int = 0) -> None:
        """Says nothing."""

    def update(self, step: str, done: int) -> None:
        """Says nothing."""

    def finish(self, step: str, note: str = "") -> None:
        """Says nothing."""

    def warn(self, text: str) -> None:
        """Says nothing."""


def parts(progress: Progress) -> Callable[[str, int, int], None]:
    """What long work calls with a name, how much is done and of how much: each name is a step, which begins with the first news of it.

    A total that changes on the way is taken as another unit.
    """
    totals: dict[str, int] = {}

    def told(name: str, done: int, total: int) -> None:
        if name not in totals:
            totals[name] = total
            progress.start(name, total)
        progress.update(name, totals[name] * done // total)
        if done >= total:
            progress.finish(name)

    return told


@contextmanager
def step(progress: Progress, name: str) -> Iterator[None]:
    """A step that ends with the block."""
    progress.start(name)
    yield
    progress.finish(name)
