"""What was quantized is kept: an interruption loses nothing of it, and leaves nothing half done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import edgeds
from edgeds import quantizing
from edgeds.cache import Cache
from edgeds.intake import take_in
from edgeds.progress import Silent
from edgeds.recipe import Recipe
from edgeds.spec import FloatModel, Samples


class Told(Silent):
    """Remembers how each step ended; interrupted, as by Ctrl-C, in the middle of the one that is named."""

    def __init__(self, interrupted: str = "") -> None:
        self.notes: dict[str, str] = {}
        self._interrupted = interrupted

    def update(self, step: str, done: int) -> None:
        if step == self._interrupted:
            raise KeyboardInterrupt

    def finish(self, step: str, note: str = "") -> None:
        self.notes[step] = note


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache") as store:
        yield store


@pytest.fixture
def given(tmp_path: Path) -> tuple[FloatModel, Samples]:
    model = edgeds.load_model("ds_cnn", width=0.125, input_size=16, num_classes=3)
    inputs = np.random.default_rng(0).normal(size=(24, *model.input_shapes[0][1:])).astype(np.float32)
    np.save(tmp_path / "sounds.npy", inputs)
    return take_in(model, str(tmp_path / "sounds.npy"), None, Silent())


def entries(store: Cache) -> list[str]:
    """What the cache has of quantized models."""
    folder = store.root / quantizing.KIND
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.mark.parametrize("part", ["equalize", "calibrate", "learn ranges", "round and correct"])
def test_an_interruption_keeps_what_was_cached_and_leaves_nothing_half_done(
    part: str, store: Cache, given: tuple[FloatModel, Samples]
) -> None:
    quantizing.quantize(*given, Recipe("fast"), store, Silent())
    kept = entries(store)
    with pytest.raises(KeyboardInterrupt):
        quantizing.quantize(*given, Recipe("best"), store, Told(part))
    assert entries(store) == kept and len(kept) == 1
    again = Told()
    quantizing.quantize(*given, Recipe("fast"), store, again)
    assert again.notes == {quantizing.STEP: "from the cache"}


def test_each_technique_is_a_step_that_ends_and_comes_from_the_cache_the_next_time(
    store: Cache, given: tuple[FloatModel, Samples]
) -> None:
    first, again = Told(), Told()
    for progress in (first, again):
        quantizing.quantize(*given, Recipe("best"), store, progress)
    parts = ["calibrate", "learn ranges", "round and correct"]
    judging = [f"{name}, without equalization" for name in parts]  # as ranges are not learned here
    assert list(first.notes) == ["equalize", *parts, *judging, quantizing.STEP]
    assert again.notes == {quantizing.STEP: "from the cache"}
