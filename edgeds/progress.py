"""How long work tells what it is doing: steps with a name, and how much of each is done."""

from __future__ import annotations

from collections.abc import Iterator
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


@contextmanager
def step(progress: Progress, name: str) -> Iterator[None]:
    """A step that ends with the block."""
    progress.start(name)
    yield
    progress.finish(name)
