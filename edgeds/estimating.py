"""Estimates of emulated runs that are not worked out twice.

An estimate is found again by its run (see edgeds.emulating), the counts of threads, and the model behind it: the code of edgeds.latency and
the tables of cores.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeds import program as programs
from edgeds.cache import Cache, digest
from edgeds.emulating import Emulator, Job, emulated
from edgeds.latency.estimate import estimate
from edgeds.layer_times import layer_times
from edgeds.results import LatencyReport
from edgeds.run.emulator import EmulatedRun
from edgeds.spec import Array, Program

if TYPE_CHECKING:
    from pydantic import TypeAdapter

KIND = "estimated"


@dataclass(frozen=True, slots=True, eq=False)
class Estimated:
    """What an artifact answered on an emulated device, and how long it takes there: a report for each count of threads."""

    outputs: tuple[Array, ...]
    latencies: tuple[LatencyReport, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What is estimated: a report for each count of `threads`, with the time of each layer where `layers` are wanted.

    `graph` is the PT2E graph that the artifacts were lowered from, if there is one; its modules name the layers.
    """

    threads: tuple[int, ...]
    layers: bool = False
    graph: Program | None = None

    def key(self) -> tuple[str, ...]:
        """What it is told apart by, beside its job."""
        graph = programs.digest(self.graph) if self.layers and self.graph else ""
        return (*map(str, self.threads), str(self.layers), graph)


def estimated(job: Job, asked: Asked, emulator: Emulator, image_digest: str, store: Cache | None) -> Estimated:
    """Emulates `job` and estimates its latency, both from `store` if they are there. Raises what `emulated` and `estimate` do."""

    def make() -> Estimated:
        run = emulated(job, emulator, image_digest, store)
        latencies = _estimates(run, job, asked.threads)
        if asked.layers:
            layers, note = layer_times(job, emulator, run.trace, asked.graph)
            latencies = tuple(
                replace(one, layers=layers, layers_note=note) if one.threads == 1 else one for one in latencies
            )
        return Estimated(run.record.outputs, latencies)

    if store is None:
        return make()
    made: list[Estimated] = []

    def fill(place: Path) -> None:
        made.append(make())
        _save(made[0], place)

    key = digest(job.key(image_digest), job.subject, repr(job.device), model_digest(), *asked.key())
    with Cache(store.root) as own:  # a cache of its own: it is not made for use by several threads
        place = own.get_or_make(KIND, key, fill)
        return made[0] if made else _load(place)


def _estimates(run: EmulatedRun, job: Job, threads: Sequence[int]) -> tuple[LatencyReport, ...]:
    return tuple(
        estimate(run.trace, job.device, n_threads, subject=job.subject, artifact_sha256=job.artifact.sha256)
        for n_threads in threads
    )


@functools.cache
def model_digest() -> str:
    """The sha256 of the model of latency: its code, and its tables of cores."""
    devices = files("edgeds.devices")
    own = _contents(files("edgeds"), "layer_times.py")
    parts = (*own, *_contents(files("edgeds.latency"), ".py"), *_contents(devices, ".py"))
    return digest(*parts, *_contents(devices / "cores", ".toml"))


def _contents(folder: Traversable, suffix: str) -> list[bytes]:
    found = sorted((item for item in folder.iterdir() if item.name.endswith(suffix)), key=lambda item: item.name)
    return [part for item in found for part in (item.name.encode(), item.read_bytes())]


def _save(found: Estimated, place: Path) -> None:
    for k, output in enumerate(found.outputs):
        np.save(place / f"output_{k}.npy", output, allow_pickle=False)
    content = {"n_outputs": len(found.outputs), "latencies": _reports().dump_python(found.latencies, mode="json")}
    (place / "estimates.json").write_text(json.dumps(content))


def _load(place: Path) -> Estimated:
    content = json.loads((place / "estimates.json").read_text())
    outputs = (np.load(place / f"output_{k}.npy", allow_pickle=False) for k in range(content["n_outputs"]))
    return Estimated(tuple(outputs), _reports().validate_python(content["latencies"]))


@functools.cache
def _reports() -> TypeAdapter[tuple[LatencyReport, ...]]:
    from pydantic import TypeAdapter

    return TypeAdapter(tuple[LatencyReport, ...])
