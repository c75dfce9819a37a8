"""Every artifact of a bundle on emulated devices: how long it takes there, and whether it answers what it should."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import cast

from edgeds import process, reference
from edgeds import program as programs
from edgeds.cache import Cache
from edgeds.data.samples import evenly_spaced, take
from edgeds.devices.profile import DeviceProfile
from edgeds.drift.limits import judge
from edgeds.drift.metrics import compare
from edgeds.emulating import Emulator, Job
from edgeds.errors import InputError
from edgeds.estimating import Asked, Estimated, estimated
from edgeds.progress import Progress
from edgeds.quantize.parameters import output_scales
from edgeds.results import Benchmark
from edgeds.spec import RUNTIMES_OF, Array, Artifact, Bundle, DriftReport, Precision, Program, Runtime

STEP = "emulate"
# Each costs seconds of emulation: enough to see that a device computes what the host does, which validated them all.
N_SAMPLES = 2


@dataclass(frozen=True, slots=True)
class Wish:
    """What to run where: `runtimes` and `precisions` are all that the bundle has if None; one row for each count of `threads`.

    `layers` are emulated once more, for the time of each.
    """

    devices: tuple[DeviceProfile, ...]
    runtimes: tuple[Runtime, ...] | None
    precisions: tuple[Precision, ...] | None
    threads: tuple[int, ...]
    time_limit_s: float
    layers: bool = False


def bench(
    bundle: Bundle, wish: Wish, emulator: Emulator | ModuleType, store: Cache | None, progress: Progress
) -> Benchmark:
    """Emulates each artifact once on each device, with one thread; more threads are projected from that.

    Raises InputError for what the bundle does not have, ToolError where a guest fails or takes longer than it may.
    """
    runner = cast(Emulator, emulator)
    pairs = _pairs(bundle, wish)
    _check_threads(wish)
    image = runner.check(progress)
    jobs = _jobs(bundle, pairs, wish)
    asked = Asked(wish.threads, wish.layers, _graph(bundle) if wish.layers else None)
    found: list[Estimated] = []
    progress.start(STEP, len(jobs))
    with process.pool() as pool:
        running = [pool.submit(estimated, job, asked, runner, image.digest, store) for job in jobs]
        for done, future in enumerate(running):
            found.append(future.result())
            progress.update(STEP, done + 1)
    progress.finish(STEP)
    drift = _drift(bundle, jobs, found)
    return Benchmark(
        latencies=tuple(latency for one in found for latency in one.latencies),
        drift=drift,
        violations=tuple(_violations(bundle, drift)),
        image_digest=image.digest,
    )


def _pairs(bundle: Bundle, wish: Wish) -> list[tuple[Artifact, Runtime]]:
    artifacts = bundle.manifest.artifacts
    name = bundle.path.name
    if not artifacts:
        raise InputError(f"the bundle {name} has no artifacts to run; make some with `edgeds export {name}`")
    for runtime in wish.runtimes or ():
        if not any(runtime in RUNTIMES_OF[artifact.format] for artifact in artifacts):
            raise InputError(f"the bundle {name} has nothing for {runtime}; {_what_it_has(artifacts)}")
    for precision in wish.precisions or ():
        if all(artifact.precision is not precision for artifact in artifacts):
            raise InputError(f"the bundle {name} has nothing in {precision}; {_what_it_has(artifacts)}")
    found = [
        (artifact, runtime)
        for artifact in artifacts
        for runtime in RUNTIMES_OF[artifact.format]
        if (wish.runtimes is None or runtime in wish.runtimes)
        and (wish.precisions is None or artifact.precision in wish.precisions)
    ]
    if not found:
        raise InputError(f"the bundle {name} has no such runtime and precision together; {_what_it_has(artifacts)}")
    return found


def _what_it_has(artifacts: Sequence[Artifact]) -> str:
    return f"it has {', '.join(artifact.name for artifact in artifacts)}; choose from these, or export it with more"


def _check_threads(wish: Wish) -> None:
    """Before minutes of emulation."""
    for device, threads in itertools.product(wish.devices, wish.threads):
        if not 1 <= threads <= device.cores:
            raise InputError(f"{threads} threads do not fit on {device.name}; give 1 to {device.cores}")


def _jobs(bundle: Bundle, pairs: Sequence[tuple[Artifact, Runtime]], wish: Wish) -> list[Job]:
    samples = reference.read_samples(bundle)
    few = take(samples, evenly_spaced(len(samples), N_SAMPLES))
    return [
        Job(artifact, bundle.path / artifact.path, runtime, device, few.inputs, few.digest, wish.time_limit_s)
        for device in wish.devices
        for artifact, runtime in pairs
    ]


def _drift(bundle: Bundle, jobs: Sequence[Job], runs: Sequence[Estimated]) -> dict[str, tuple[DriftReport, ...]]:
    """Of each device: every artifact against the float model, and an int8 one against the PT2E graph as well."""
    outputs = _references(bundle)
    scales = _scales(bundle)
    found: dict[str, tuple[DriftReport, ...]] = {}
    for job, run in zip(jobs, runs, strict=True):
        int8 = job.artifact.precision is Precision.INT8
        found[job.device.name] = (
            *found.get(job.device.name, ()),
            *(
                compare(job.subject, name, run.outputs, expected, scales if int8 else None)
                for name, expected in outputs.items()
                if int8 or name == "float"
            ),
        )
    return found


def _references(bundle: Bundle) -> dict[str, tuple[Array, ...]]:
    outputs = reference.read_outputs(bundle)
    rows = evenly_spaced(len(outputs["float"][0]), N_SAMPLES)
    return {name: tuple(output[rows] for output in answers) for name, answers in outputs.items()}


def _scales(bundle: Bundle) -> tuple[float, ...] | None:
    graph = _graph(bundle)
    scales = output_scales(graph) if graph else ()
    return scales if any(scales) else None


def _graph(bundle: Bundle) -> Program | None:
    """The PT2E graph that its int8 artifacts were lowered from, where it is quantized."""
    return programs.load(bundle.path / "reference" / "graph") if bundle.manifest.recipe else None


def _violations(bundle: Bundle, drift: dict[str, tuple[DriftReport, ...]]) -> Iterator[str]:
    """By SQNR alone: of two samples' classes, and of how far runtimes lie apart on them, chance would decide."""
    limits = replace(bundle.manifest.limits, min_int8_top1_agreement=0.0, max_runtime_spread_db=math.inf)
    for device, reports in drift.items():
        for sentence in judge(reports, tuple(Precision), limits):
            yield f"{device}: {sentence}"
