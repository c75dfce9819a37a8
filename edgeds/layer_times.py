"""How long each layer of an artifact takes on an emulated device: a second run, divided where the runtime begins its next operator."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np

from edgeds import twin
from edgeds.emulating import Emulator, Job
from edgeds.errors import InputError, ModelError
from edgeds.export.taps import taps
from edgeds.latency.estimate import slice_ms
from edgeds.results import LayerTime
from edgeds.run.emulator import SlicedRun
from edgeds.spec import Program, Runtime
from edgeds.twin.align import align, channels_last

# What of its own a runtime's graph has beside the artifact's operators, or has no more: ONNX Runtime lays tensors out anew, XNNPACK pads
# inside of the convolution that follows.
_LEFT_OUT = "PAD"

Described = tuple[str, str]  # the user's module, empty where unknown, and the runtime's operator


def layer_times(job: Job, emulator: Emulator, graph: Program | None) -> tuple[tuple[LayerTime, ...], str]:
    """The operators of `job` in their order, and what to know of them. There are none where the runtime does not show them; then why.

    `graph` is the bundle's PT2E graph, whose modules the layers are named by.
    """
    run = emulator.run_sliced(job.artifact, job.path, job.runtime, job.inputs, job.device, timeout_s=job.time_limit_s)
    all_ms = [slice_ms(one, job.device) for one in run.slices]
    described, why = _described(job, graph)
    if run.profile:
        own_ms = all_ms[_first(run) :: 2][: len(run.profile)]
        names, places = _by_profile(run, described), [one.name for one in run.profile]
    else:
        own_ms = all_ms[1:]
        names, why = _by_number(len(own_ms), described, why)
        places = [str(number + 1) for number in range(len(own_ms))]
    if not own_ms:
        return (
            (),
            f"{job.runtime} does not show where its operators begin: its library does not name the function that starts one",
        )
    total = sum(own_ms)
    layers = (
        LayerTime(module, place, operator, ms, ms / total)
        for (module, operator), place, ms in zip(names, places, own_ms, strict=True)
    )
    return tuple(layers), why


def _first(run: SlicedRun) -> int:
    """Which slice is the first operator's: where the instructions of every second one from there follow the profile's times best.

    The runtime reads the clock for other things too, before its first operator and behind its last. The measure is the cosine of the two.
    """
    n_slices = 2 * len(run.profile) - 1
    counts = np.array([sum(block.instructions * block.executions for block in one) for one in run.slices], float)
    times = np.array([one.emulator_us for one in run.profile], float)

    def likeness(first: int) -> float:
        own = counts[first : first + n_slices : 2]
        return float(own @ times / max(float(np.linalg.norm(own)), 1.0))

    return max(range(len(run.slices) - n_slices + 1), key=likeness)


def _described(job: Job, graph: Program | None) -> tuple[list[Described], str]:
    """The operators that the artifact's file says, in the order in which they run; none for a reason."""
    if graph is None:
        return [], "without a quantized graph no operator is named by its module"
    runtime = Runtime.LITERT if job.runtime is Runtime.TFLITE_RUNTIME else job.runtime  # they read the same file
    try:
        found = twin.load(job.artifact, job.path, runtime)
    except (InputError, ModelError) as error:
        return [], f"operators are not named by modules: {error}"
    watched = taps(graph)
    shapes = {node.name: node.shape for node in graph.nodes}
    last = channels_last(job.artifact.layout, found)
    matches = align(watched, [shapes[tap.step] for tap in watched], found, last)
    modules = {match.value.name: tap.module for match, tap in zip(matches, watched, strict=True) if match}
    return [
        (next((modules[name] for name in layer.outputs if name in modules), ""), layer.operator)
        for layer in found.layers
    ], ""


def _by_profile(run: SlicedRun, described: Sequence[Described]) -> list[Described]:
    """What the runtime says that it ran, with the modules of what the file says: both in one order, but each may have some of its own."""
    operators = [one.operator for one in run.profile]
    modules = [""] * len(operators)
    same = SequenceMatcher(None, operators, [operator for _, operator in described], autojunk=False)
    for block in same.get_matching_blocks():
        for k in range(block.size):
            modules[block.a + k] = described[block.b + k][0]
    return list(zip(modules, operators, strict=True))


def _by_number(count: int, described: Sequence[Described], why: str) -> tuple[list[Described], str]:
    """The file's operators if as many ran, or as many without those that pad; else nothing is known of each but its number."""
    rest = [one for one in described if one[1] != _LEFT_OUT]
    for known in (described, rest):
        if len(known) == count:
            return list(known), why
    if described:
        why = f"{count} operators ran and the file has {len(described)}: they are not named by modules"
    return [("", "")] * count, why
