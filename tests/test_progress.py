"""Steps that long work tells of as it goes on."""

from __future__ import annotations

from edgeds.progress import Silent, parts


class Told(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, int]] = []

    def start(self, step: str, total: int = 0) -> None:
        self.events.append(("start", step, total))

    def update(self, step: str, done: int) -> None:
        self.events.append(("update", step, done))

    def finish(self, step: str, note: str = "") -> None:
        self.events.append(("finish", step, 0))


def test_a_part_is_a_step_that_begins_with_its_first_news_and_ends_with_its_last() -> None:
    progress = Told()
    told = parts(progress)
    told("calibrate", 1, 2)
    told("calibrate", 2, 2)
    told("round", 3, 3)
    assert progress.events == [
        ("start", "calibrate", 2),
        ("update", "calibrate", 1),
        ("update", "calibrate", 2),
        ("finish", "calibrate", 0),
        ("start", "round", 3),
        ("update", "round", 3),
        ("finish", "round", 0),
    ]


def test_a_part_whose_total_changes_does_not_go_back() -> None:
    progress = Told()
    told = parts(progress)
    for done, total in ((24, 192), (96, 192), (40, 64), (64, 64)):
        told("equalize", done, total)
    assert [done for kind, _, done in progress.events if kind == "update"] == [24, 96, 120, 192]
