"""Drift explained: every layer of an artifact in a runtime, with what it adds to the final error, why, and whether it is wrong.

The layers' values are the twin's, which opens nothing and changes nothing: the runtime runs the artifact as it is, and where the twin
ends in the same bits its values are the runtime's. Three comparisons then tell apart what people mix up: a layer against the float
model (the error of quantization), from its own input against the PT2E graph (rounding, or a bug in the artifact), and the twin's
answer against the runtime's (a bug in the runtime).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeds import twin
from edgeds.drift.metrics import compare
from edgeds.explain.float_values import float_names, node_values
from edgeds.explain.ranges import Ranges, ranges
from edgeds.explain.scales import channel_factors
from edgeds.explain.sentences import sentence, wrongs
from edgeds.explain.shares import error_shares
from edgeds.explain.visible import own_steps, visible_values
from edgeds.export.taps import Tap, taps
from edgeds.layers import layer_errors
from edgeds.recipe import Recipe
from edgeds.run import host
from edgeds.spec import Array, Artifact, LayerError, Program, Runtime, Samples
from edgeds.twin import Twin, Value
from edgeds.twin.align import Match, align, arranged, channels_last, reals

# In quantization steps: rounding makes a step or two of a layer, a bug many. (As edgeds.crosscheck has it.)
MOST_BY_ROUNDING = 3.0


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One quantized activation, of the layer `operator` in the user's `module`, from the line `source` of the user's code.

    `error_share` is its part of the power of the final error, `float_db` and `pt2e_db` its SQNR against the float model (both nan where
    that has no such value) and the PT2E graph. `own_error` is how far it is from what the graph computes from the artifact's own input
    to it, in steps; `runtime_error` how far the runtime's own value is from the twin's of the runtime's own input, None where the runtime
    shows none. `wrong` says why it is a bug; empty where it is none.
    """

    operator: str
    module: str
    source: str
    error_share: float
    float_db: float
    pt2e_db: float
    ranges: Ranges
    own_error: float
    runtime_error: int | None
    wrong: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The layers of one artifact in one runtime (`subject`), in the order of the graph.

    `identical` is the share of output elements whose bits the twin predicts; `hidden` are activations that the runtime fuses away.
    `sentence` says what dominates, and what helps.
    """

    subject: str
    n_inputs: int
    identical: float
    hidden: int
    layers: tuple[LayerReport, ...]
    sentence: str

    @property
    def wrong(self) -> tuple[str, ...]:
        """A sentence for each layer that is wrong, with the artifact and the runtime that it is wrong in."""
        return tuple(f"{self.subject}: {said}" for said in wrongs(self.layers))


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """What the layers should be on some samples: each tap's name in the float program ('' where it has none), and its values there
    and in the PT2E graph by node. `factors` are by how much the graph's channels are scaled, by names in the float program."""

    program: Program
    graph: Program
    samples: Samples
    watched: tuple[Tap, ...]
    names: dict[str, str]
    floats: dict[str, Array]
    references: dict[str, Array]
    recipe: Recipe | None
    factors: dict[str, Array]


def expect(program: Program, graph: Program, samples: Samples, recipe: Recipe | None = None) -> Expected:
    """Runs the float program and the PT2E graph, which `recipe` has made: once for all artifacts."""
    watched = taps(graph)
    names = float_names(program, graph, watched)
    floats = node_values(program, samples, [name for name in names.values() if name])
    references = node_values(graph, samples, [tap.output for tap in watched])
    factors = {
        names[tap.step]: channel_factors(references[tap.output], floats[names[tap.step]])
        for tap in watched
        if recipe is not None and "equalize" in recipe.techniques and names[tap.step]
    }
    return Expected(program, graph, samples, watched, names, floats, references, recipe, factors)


def explain(artifact: Artifact, path: Path, runtime: Runtime, expected: Expected) -> Explanation:
    """Runs the artifact and its twin on the samples. ModelError where an operator in it is not modelled."""
    own = twin.load(artifact, path, runtime)
    inputs = expected.samples.inputs
    answers = host.run(artifact, path, runtime, inputs).outputs
    identical = _identical(own.run(inputs), answers)
    differences = _differences(path, runtime, own, inputs, answers)
    last = channels_last(artifact.layout, own)
    shapes = {node.name: node.shape for node in expected.graph.nodes}
    integers = own.trace(inputs)

    def distance(k: int, value: Value) -> float:
        tap = expected.watched[k]
        real = _real(integers, Match(value, True), shapes[tap.output], last)
        return float(np.abs(real - expected.references[tap.output]).mean())

    matches = align(expected.watched, [shapes[tap.output] for tap in expected.watched], own, last, distance)
    values = [
        None if match is None else _real(integers, match, shapes[tap.output], last)
        for tap, match in zip(expected.watched, matches, strict=True)
    ]
    layers = _layers(matches, values, differences, expected)
    hidden = sum(value is None for value in values)
    said = sentence(layers, identical, expected.recipe)
    return Explanation(f"{artifact.name}@{runtime}", len(expected.samples), identical, hidden, layers, said)


def _real(integers: dict[str, Array], match: Match, shape: tuple[int, ...], last: bool) -> Array:
    return np.ascontiguousarray(reals(arranged(integers[match.value.name], shape, last), match.quantization))


def _identical(found: Sequence[Array], expected: Sequence[Array]) -> float:
    same = sum(int((a.view(np.int32) == b.view(np.int32)).sum()) for a, b in zip(found, expected, strict=True))
    return same / sum(a.size for a in expected)


def _differences(
    path: Path, runtime: Runtime, own: Twin, inputs: Sequence[Array], answers: Sequence[Array]
) -> dict[str, int]:
    """The runtime's error of each value that it shows; of none where it answers otherwise when it is looked at."""
    seen = visible_values(path, runtime, own, inputs)
    if seen is None or _identical([own.left(name, seen[name]) for name in own.outputs], answers) < 1:
        return {}
    return own_steps(own, seen)


def _layers(
    matches: Sequence[Match | None],
    values: Sequence[Array | None],
    differences: dict[str, int],
    expected: Expected,
) -> tuple[LayerReport, ...]:
    errors = layer_errors(expected.graph, expected.samples, values)
    given = {
        expected.names[tap.step]: value / expected.factors.get(expected.names[tap.step], np.float32(1))
        for tap, value in zip(expected.watched, values, strict=True)
        if value is not None and expected.names[tap.step]
    }
    shares = error_shares(expected.program, expected.samples, given)
    return tuple(
        _layer(tap, match, value, error, differences.get(match.value.name), shares, expected)
        for tap, match, value, error in zip(expected.watched, matches, values, errors, strict=False)
        if match is not None and value is not None
    )


def _layer(
    tap: Tap,
    match: Match,
    value: Array,
    error: LayerError,
    runtime_error: int | None,
    shares: dict[str, float],
    expected: Expected,
) -> LayerReport:
    name = expected.names[tap.step]
    factors = expected.factors.get(name, np.float32(1))
    return LayerReport(
        operator=tap.operator.removeprefix("aten.").partition(".")[0],
        module=tap.module,
        source=tap.source,
        error_share=shares.get(name, 0.0) if name else float("nan"),
        float_db=_sqnr_db(value / factors, expected.floats[name]) if name else float("nan"),
        pt2e_db=_sqnr_db(value, expected.references[tap.output]),
        ranges=ranges(value, expected.floats[name] * factors if name else value, match.quantization),
        own_error=error.max_error,
        runtime_error=runtime_error,
        wrong=_wrong(tap, match, error, runtime_error),
    )


def _sqnr_db(value: Array, reference: Array) -> float:
    return compare("", "", (value,), (reference,), None).sqnr_db


def _wrong(tap: Tap, match: Match, error: LayerError, runtime_error: int | None) -> str:
    by = match.quantization
    if runtime_error is not None and runtime_error > 1:
        return f"the runtime's own value is up to {runtime_error} steps off what its arithmetic makes of its own input"
    if not match.same:
        found = f"{by.scale:.6g} and {by.zero_point - (128 if by.dtype == 'uint8' else 0)}"
        return f"its scale and zero point are {found}, the graph's {tap.scale:.6g} and {tap.zero_point}"
    if error.max_error > MOST_BY_ROUNDING:
        some = f"{100 * error.share:.2g} % of its elements by more than 1"
        return f"from its own input it is off by up to {error.max_error:.0f} steps, {some}"
    return ""
