"""How long each layer of an artifact takes on an emulated device: a second run, divided where the runtime begins its next operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, replace
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
from edgeds.trace import Block, Lines, Slice, Trace
from edgeds.twin import Layer
from edgeds.twin.align import align, channels_last

# XNNPACK pads inside of the convolution that follows.
_LEFT_OUT = "PAD"

# XNNPACK makes one table of x · sigmoid(x), in which both runtimes call these so.
_SIGMOIDS, _PRODUCTS = {"LOGISTIC", "Sigmoid"}, {"MUL", "Multiply"}

Described = tuple[str, str]  # the user's module, empty where unknown, and the runtime's operator


def layer_times(job: Job, emulator: Emulator, timed: Trace, graph: Program | None) -> tuple[tuple[LayerTime, ...], str]:
    """The operators of `job` in their order, and what to know of them. There are none where the runtime does not show them; then why.

    `timed` is the trace of the run that the whole latency is estimated from. `graph` is the bundle's PT2E graph, whose modules the layers are named by.
    """
    run = emulator.run_sliced(job.artifact, job.path, job.runtime, job.inputs, job.device, timeout_s=job.time_limit_s)
    parts = _as_timed(run.slices, timed) if run.profile else [one.blocks for one in run.slices]
    all_ms = [slice_ms(part, job.device) for part in parts]
    described, joined, why = _described(job, graph)
    if run.profile:
        own_ms = all_ms[_first(run) :: 2][: len(run.profile)]
        names, places = _by_profile(run, described), [one.name for one in run.profile]
    else:
        own_ms = all_ms[1:]
        names, why = _by_number(len(own_ms), described, joined, why)
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


def _as_timed(slices: Sequence[Slice], timed: Trace) -> list[tuple[Block, ...]]:
    """The blocks of each slice with as many executions in all as in the run without profiler: what it executes of its own is left out,
    and of what it shares with operators, like the allocation of memory, each slice keeps its part.
    """
    wanted = {(block.address, block.code): block.executions for block in timed.blocks}
    counts: Counter[tuple[int, bytes]] = Counter()
    for one in slices:
        for block in one.blocks:
            counts[block.address, block.code] += block.executions
    shares = {key: min(wanted.get(key, 0) / timed.regions / count, 1.0) for key, count in counts.items()}
    return [tuple(_part(block, shares[block.address, block.code]) for block in one.blocks) for one in slices]


def _part(block: Block, share: float) -> Block:
    if share == 1:
        return block
    lines = Lines(*(round(share * count) for count in astuple(block.lines)))
    return replace(block, executions=round(share * block.executions), lines=lines)


def _first(run: SlicedRun) -> int:
    """Which slice is the first operator's: from where every second one took the emulator as long as the runtime's profile says.

    The runtime reads the clock for other things too, before its first operator and behind its last.
    """
    n_slices = 2 * len(run.profile) - 1
    took = np.array([one.emulator_us for one in run.slices])
    said = np.array([one.emulator_us for one in run.profile])
    starts = range(len(run.slices) - n_slices + 1)
    return min(starts, key=lambda first: float(np.abs(took[first : first + n_slices : 2] - said).sum()))


def _described(job: Job, graph: Program | None) -> tuple[list[Described], list[Described], str]:
    """The operators that the artifact's file says, in the order in which they run, and the same as XNNPACK runs them; none for a reason."""
    if graph is None:
        return [], [], "without a quantized graph no operator is named by its module"
    runtime = Runtime.LITERT if job.runtime is Runtime.TFLITE_RUNTIME else job.runtime  # they read the same file
    try:
        found = twin.load(job.artifact, job.path, runtime)
    except (InputError, ModelError) as error:
        return [], [], f"operators are not named by modules: {error}"
    watched = taps(graph)
    shapes = {node.name: node.shape for node in graph.nodes}
    last = channels_last(job.artifact.layout, found)
    matches = align(watched, [shapes[tap.step] for tap in watched], found, last)
    modules = {match.value.name: tap.module for match, tap in zip(matches, watched, strict=True) if match}
    described = [
        (next((modules[name] for name in layer.outputs if name in modules), ""), layer.operator)
        for layer in found.layers
    ]
    return described, _joined(found.layers, described), ""


def _joined(layers: Sequence[Layer], described: Sequence[Described]) -> list[Described]:
    """What XNNPACK runs: without padding, and with a product of a value and its own sigmoid as one operator."""
    readers = Counter(name for layer in layers for name in layer.inputs)
    sigmoids = {one.outputs[0]: one for one in layers if one.operator in _SIGMOIDS and readers[one.outputs[0]] == 1}
    found: list[Described] = []
    absent: set[str] = set()  # sigmoids that are in a product
    for layer, (module, operator) in zip(layers, described, strict=True):
        sigmoid = next((sigmoids[name] for name in layer.inputs if name in sigmoids), None)
        if operator in _PRODUCTS and sigmoid is not None and sigmoid.inputs[0] in layer.inputs:
            absent.add(sigmoid.name)
            operator = f"{sigmoid.operator} + {operator}"
        found.append((module, operator))
    kept = zip(layers, found, strict=True)
    return [one for layer, one in kept if layer.name not in absent and layer.operator != _LEFT_OUT]


def _by_profile(run: SlicedRun, described: Sequence[Described]) -> list[Described]:
    """What the runtime says that it ran, with the modules of what the file says: both in one order, but each may have some of its own."""
    operators = [one.operator for one in run.profile]
    modules = [""] * len(operators)
    same = SequenceMatcher(None, operators, [operator for _, operator in described], autojunk=False)
    for block in same.get_matching_blocks():
        for k in range(block.size):
            modules[block.a + k] = described[block.b + k][0]
    return list(zip(modules, operators, strict=True))


def _by_number(
    count: int, described: Sequence[Described], joined: Sequence[Described], why: str
) -> tuple[list[Described], str]:
    """The file's operators if as many ran, or as many as XNNPACK makes of them; else nothing is known of each but its number."""
    for known in (described, joined):
        if len(known) == count:
            return list(known), why
    if described:
        why = (
            f"{count} operators ran and the file has {len(described)}, for the runtime joins some in a way that edgeds does not know: "
            "they are not named by modules"
        )
    return [("", "")] * count, why
