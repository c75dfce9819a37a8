"""Latencies that others measured on boards and published, with where each number stands: published_latencies.csv."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FILE = Path(__file__).with_name("published_latencies.csv")
# The slowest of a row's runs took this much longer than the fastest: something else ran on the board.
_DISTURBED = 1.5


@dataclass(frozen=True, slots=True)
class Published:
    """One number. `version` is the release of the runtime that is run for it, or the date of the number where that release cannot be.

    `ms` is an average; `min_ms` and `max_ms` are 0 where they were not published.
    """

    device: str
    runtime: str
    version: str
    net: str
    precision: str
    threads: int
    min_ms: float
    max_ms: float
    ms: float
    source: str

    @property
    def disturbed(self) -> bool:
        """Whether its runs differ so much that their average says nothing of the net."""
        return self.max_ms > _DISTURBED * self.min_ms > 0


def rows() -> Iterator[Published]:
    """All of them."""
    with open(_FILE, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            least, most, average = (float(row[name] or 0) for name in ("min_ms", "max_ms", "ms"))
            yield Published(
                row["device"],
                row["runtime"],
                row["version"],
                row["net"],
                row["precision"],
                int(row["threads"]),
                least,
                most,
                average,
                row["source"],
            )
