"""Programs → artifacts in a folder, each lowered once: the cache knows those that were made from the same things before."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from edgeds import program as programs
from edgeds.cache import Cache, digest
from edgeds.errors import ToolError
from edgeds.export import EXPORTERS
from edgeds.export.log import tidy
from edgeds.export.lower import lower
from edgeds.export.worker import Job
from edgeds.folders import temporary, walk
from edgeds.progress import Progress
from edgeds.spec import Artifact, Format, Precision, Program, TfliteIo

KIND = "artifacts"


@dataclass(frozen=True, slots=True)
class Order:
    """One artifact that is wanted: the program it is made from, and the name of its file."""

    format: Format
    precision: Precision
    program: Program
    file: str
    tflite_io: TfliteIo

    @property
    def step(self) -> str:
        """What the progress calls it."""
        return f"lower to {self.format} {self.precision}"


@cache
def code_digest() -> str:
    """The sha256 of edgeds' own code: what an older edgeds made is not used again."""
    import edgeds

    roots = [Path(folder) for name in ("edgeds", "edgeds.export", "edgeds.quantize") for folder in _folders(name)]
    files = sorted({file for root in roots for file in root.rglob("*.py")}, key=lambda file: (file.name, str(file)))
    return digest(edgeds.__version__, *(file.read_bytes() for file in files))


def toolchain_digest(packages: Sequence[str]) -> str:
    """The versions of the packages that make an artifact, with edgeds' own code."""
    return digest(code_digest(), *(f"{package} {importlib.metadata.version(package)}" for package in packages))


def lower_all(
    orders: Sequence[Order], folder: Path, store: Cache | None, progress: Progress, workers: int | None = None
) -> tuple[Artifact, ...]:
    """Puts every ordered artifact into `folder`, its converter's log into `folder`/logs; paths come relative to `folder`.

    With a `store`, what it has is copied and what it lacks is lowered, side by side, and stored.
    """
    (folder / "logs").mkdir(exist_ok=True)
    keys = {order: _key(order) for order in orders} if store is not None else {}
    found = {order: entry for order, key in keys.items() if store is not None and (entry := store.fetch(KIND, key))}
    for order in found:
        progress.start(order.step)
        progress.finish(order.step, "from the cache")
    missing = [order for order in orders if order not in found]
    with temporary("edgeds-lower-") as place:
        made = _lower(missing, place, progress, workers)
        for order, files in made.items():
            _put(files, folder)
            if store is not None:
                store.store(KIND, keys[order], lambda target, files=files: _put(files, target))  # type: ignore[misc]  # the default binds
    for entry in found.values():
        _put(entry, folder)
    return tuple(_artifact(folder / "logs" / f"{order.file}.json") for order in orders)


def _folders(package: str) -> list[str]:
    import importlib

    return list(importlib.import_module(package).__path__)


def _key(order: Order) -> str:
    packages = EXPORTERS[order.format].PACKAGES
    parts = (order.format, order.precision, order.tflite_io, order.file, programs.digest(order.program))
    return digest(*parts, toolchain_digest(packages))


def _lower(orders: Sequence[Order], work: Path, progress: Progress, workers: int | None) -> dict[Order, Path]:
    """Lowers into a folder for each order, that has what `_put` copies."""
    from pydantic import TypeAdapter

    jobs: dict[Job, Order] = {}
    for order in orders:
        place = work / order.file
        (place / "logs").mkdir(parents=True)
        stem = work / programs.digest(order.program)
        if not stem.with_suffix(".json").exists():
            programs.save(order.program, stem)
        jobs[Job(order.format, order.precision, stem, place / order.file, order.tflite_io)] = order

    def event(job: Job, what: str) -> None:
        (progress.start if what == "start" else progress.finish)(jobs[job].step)

    # the error of a converter names its log, which stays then
    with temporary("edgeds-log-", unless=ToolError) as logs:
        artifacts = lower(list(jobs), logs, workers, event)
        texts = {job: (logs / f"{job.path.name}.log").read_text(errors="replace") for job in jobs}
    for (job, order), artifact in zip(jobs.items(), artifacts, strict=True):
        place = job.path.parent
        if log := tidy(texts[job], str(work)):
            (place / "logs" / f"{order.file}.log").write_text(log, encoding="utf-8")
        text = TypeAdapter(Artifact).dump_python(replace(artifact, path=Path(order.file)), mode="json")
        (place / "logs" / f"{order.file}.json").write_text(json.dumps(text, indent=1) + "\n")
    return {order: job.path.parent for job, order in jobs.items()}


def _put(place: Path, folder: Path) -> None:
    for name in walk(place):  # not copytree, whose error does not say that the disk is full
        target = folder / name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(place / name, target)


def _artifact(path: Path) -> Artifact:
    from pydantic import TypeAdapter

    artifact = TypeAdapter(Artifact).validate_json(path.read_text())
    path.unlink()
    return artifact
