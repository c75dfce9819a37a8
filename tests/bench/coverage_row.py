"""What coverage says of a net: a row of plain data, judged by rules that stand here and nowhere else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from edgeds.spec import Artifact, Compute, Format, Program
from tests.surprises import surprises, transposes

# Changes of type that an integer artifact has: at its two ends where those are float.
EXPECTED_CONVERTS = {Format.EXECUTORCH: 2, Format.ONNX: 2, Format.TFLITE: 0}
# Operators that ONNX Runtime has integer kernels for, so that one in float is a leftover whatever a note says: see
# github.com/microsoft/onnxruntime/blob/main/docs/OperatorKernels.md and ContribOperators.md (QLinear…).
ORT_INTEGER = {
    "Add", "AveragePool", "Clip", "Concat", "Conv", "FusedConv", "FusedGemm", "FusedMatMul", "Gather", "Gemm", "GlobalAveragePool",
    "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad", "ReduceMean", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Softmax", "Split",
    "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
# LayerNorm has no integer kernel in any runtime. ONNX has it as one operator; the others compute it in these pieces, of which the first
# stands in it once. Float operators of these names, at most so many for each LayerNorm, are named as what they are.
LAYER_NORM = "aten.layer_norm"
PIECES = {
    Format.EXECUTORCH: (
        "ReciprocalSquareRoot", "Add", "Conv2d", "FullyConnected", "Multiply", "Square", "StaticMean", "StaticReshape", "StaticTranspose", "Subtract",
    ),
    Format.ONNX: (),
    Format.TFLITE: ("RSQRT", "ADD", "MEAN", "MUL", "RESHAPE", "SQUARED_DIFFERENCE", "SUB", "TRANSPOSE"),
}  # fmt: skip
MOST_PIECES = 3  # of one name
NO_KERNEL = "has no integer kernel"  # edgeds' words in the note on such an operator
# A runtime differs from PT2E's graph by roundings. Where a net amplifies them until they have nothing in common, both have independent
# errors of the same power, and lie 3 dB further apart than PT2E from float. Where another runtime shows that the net does not (it is
# closer by OUTLIER_DB), roundings are less than quantization itself. What is further off computes something else.
MARGIN_DB = 4.0
OUTLIER_DB = 10.0


class Outcome(StrEnum):
    """What became of a net, or of one format of it; the worst comes last."""

    CLEAN = "clean"
    NAMED = "clean but for named operators"
    LEFTOVERS = "leftovers"
    REFUSED = "refused"
    WRONG = "wrong"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error in one line. `on_purpose`: edgeds said what cannot be used, rather than that a tool or itself broke."""

    text: str
    on_purpose: bool


@dataclass(frozen=True, slots=True)
class Agreement:
    """SQNR of one runtime's outputs in dB: against the float model, and against PT2E's graph."""

    runtime: str
    vs_float_db: float
    vs_pt2e_db: float


@dataclass(frozen=True, slots=True)
class Cell:
    """One format of a net. `leftovers` are float operators and what else is not clean, `named` those of which the runtime has no
    integer kernel, `remarks` what is clean but costs time, `surprises` what `edgeds inspect --formats` had said otherwise. Times are medians on this machine in milliseconds, None where they
    were not measured."""

    format: Format
    leftovers: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    remarks: tuple[str, ...] = ()
    int8_ms: float | None = None
    fp32_ms: float | None = None
    failure: Failure | None = None
    surprises: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """Whether it is clean; `wrong` is the row's to say, which sees all runtimes."""
        if self.failure is not None:
            return Outcome.REFUSED if self.failure.on_purpose else Outcome.CRASHED
        if self.leftovers:
            return Outcome.LEFTOVERS
        return Outcome.NAMED if self.named else Outcome.CLEAN


@dataclass(frozen=True, slots=True)
class Row:
    """One net. `pt2e_db` is PT2E's graph against the float model, `runtimes_db` the worst SQNR between two current runtimes. `code`
    is the digest of edgeds' code that it was measured with, `quick` a row without fp32 and times."""

    net: str
    code: str
    quick: bool
    cpu_seconds: float
    cells: tuple[Cell, ...] = ()
    pt2e_db: float | None = None
    runtimes_db: float | None = None
    failure: Failure | None = None

    @property
    def outcome(self) -> Outcome:
        """The worst of its formats."""
        if self.failure is not None:
            return Outcome.REFUSED if self.failure.on_purpose else Outcome.CRASHED
        found = [cell.outcome for cell in self.cells] + [Outcome.WRONG] * bool(self.wrong)
        return max(found, key=list(Outcome).index)

    @property
    def agreements(self) -> tuple[Agreement, ...]:
        """Those of every runtime."""
        return tuple(agreement for cell in self.cells for agreement in cell.agreements)

    @property
    def wrong(self) -> tuple[str, ...]:
        """The runtimes that disagree with PT2E's graph by more than roundings do."""
        agreements = self.agreements
        if self.pt2e_db is None or not agreements:
            return ()
        best = max(agreement.vs_pt2e_db for agreement in agreements)
        floor = max(self.pt2e_db - MARGIN_DB, min(self.pt2e_db, best - OUTLIER_DB))
        return tuple(a.runtime for a in agreements if a.vs_pt2e_db < floor)


def cell(artifact: Artifact, agreements: Sequence[Agreement], graph: Program | None = None) -> Cell:
    """What an int8 artifact leaves in float, and what else keeps it from being clean; `graph` is what it was made from."""
    floats = {o.name: o.count for o in artifact.operators if o.compute is Compute.FLOAT32}
    named = _named(artifact, floats)
    leftovers = (
        [] if _is_layer_norm(artifact, floats) else [f"float {n} x{c}" for n, c in floats.items() if n not in named]
    )
    leftovers += [f"outside {name} x{count}" for name, count in sorted(Counter(artifact.outside).items())]
    if artifact.format is Format.EXECUTORCH and artifact.delegates != 1:
        leftovers.insert(0, f"{artifact.delegates} delegates")
    dequantize = sum(o.count for o in artifact.operators if o.name == "DEQUANTIZE")  # TFLite's: its output is float
    if dequantize and not floats:
        leftovers.append(f"float tensors of DEQUANTIZE x{dequantize}")
    remarks = tuple(_remarks(artifact, graph)) if graph and not leftovers and not named else ()
    texts = tuple(f"{name} x{count}" for name, count in sorted(named.items()))
    otherwise = () if graph is None else surprises(artifact, graph)
    return Cell(artifact.format, tuple(leftovers), texts, tuple(agreements), remarks, surprises=otherwise)


def _named(artifact: Artifact, floats: dict[str, int]) -> dict[str, int]:
    """The float operators that the runtime has no integer kernel of, with how often each stands in the artifact."""
    if _is_layer_norm(artifact, floats):
        return {"LayerNorm": floats[PIECES[artifact.format][0]]}
    if artifact.format is not Format.ONNX:
        return {}
    return {name: count for name, count in floats.items() if _without_kernel(name, artifact.notes)}


def _is_layer_norm(artifact: Artifact, floats: dict[str, int]) -> bool:
    """Whether all float operators are pieces of LayerNorms, of which edgeds' notes speak."""
    pieces = PIECES[artifact.format]
    most = MOST_PIECES * floats.get(pieces[0], 0) if pieces else 0
    told = any(LAYER_NORM in note and NO_KERNEL in note for note in artifact.notes)
    return bool(floats) and told and all(name in pieces and count <= most for name, count in floats.items())


def _remarks(artifact: Artifact, graph: Program) -> Iterator[str]:
    """What an integer artifact does without need."""
    converts = artifact.count(Compute.CONVERT) - EXPECTED_CONVERTS[artifact.format]
    if converts > 0:
        yield f"{converts} changes of scale"
    if (turned := transposes(artifact, graph)) > 0:
        yield f"{turned} transposes"


def _without_kernel(name: str, notes: Sequence[str]) -> bool:
    return name not in ORT_INTEGER and any(note.startswith(f"{name}:") and NO_KERNEL in note for note in notes)


def to_json(row: Row) -> str:
    """One line of JSON. Infinity, the SQNR of two runtimes that agree in every bit, stands there by that name."""
    from pydantic import TypeAdapter

    return json.dumps(TypeAdapter(Row).dump_python(row, mode="json"))


def from_json(text: str) -> Row:
    """The row that `to_json` wrote."""
    from pydantic import TypeAdapter

    return TypeAdapter(Row).validate_json(text)


def summary(rows: Sequence[Row]) -> str:
    """How many nets came out how: 'clean 20 / clean but for named operators 3 / … of 55'."""
    counts = Counter(row.outcome for row in rows)
    return " / ".join(f"{outcome} {counts[outcome]}" for outcome in Outcome) + f" of {len(rows)}"
