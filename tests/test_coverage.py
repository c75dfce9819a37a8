"""Anyone's separable-convolution net lowers to integers: a net for each kind of rewrite through the bench, and the bench's own rules."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from edgeds.spec import Artifact, Compute, Format, Layout, Node, OperatorCount, Precision, Program
from tests.bench import coverage as bench
from tests.bench.coverage_nets import NETS, SUBSET, Net
from tests.bench.coverage_row import Agreement, Cell, Failure, Outcome, Row, cell, from_json, summary, to_json
from tests.bench.coverage_table import HEADER, line

NAMES = [net.name for net in SUBSET]
# What no runtime has in integers, and what ONNX Runtime alone has not.
LAYER_NORM = ("inception_next_atto", "test_convnext2")
NO_KERNEL_IN_ONNX = {"fasternet_t0": {"Gelu"}} | {name: {"Gelu", "LayerNormalization"} for name in LAYER_NORM}
# Two current runtimes of a net with random weights, which amplify single roundings.
BETWEEN_DB = 10

Rows = Callable[[str], Row]


@pytest.fixture(scope="session")
def row_of(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The row of a net; all of them are measured, once a session, when the first is asked for."""

    @cache
    def rows() -> dict[str, Row]:
        out = tmp_path_factory.mktemp("coverage") / "rows.jsonl"
        return {row.net: row for row in bench.coverage(SUBSET, out, quick=True)}

    return lambda name: rows()[name]


def cell_of(row: Row, format: Format) -> Cell:
    assert row.failure is None
    return next(found for found in row.cells if found.format is format)


def named(found: Cell) -> set[str]:
    """The operators that a format leaves in float for want of a kernel, where it leaves nothing else."""
    assert (found.failure, found.leftovers) == (None, ())
    return {text.split(" ")[0] for text in found.named}


@pytest.mark.parametrize("name", NAMES)
def test_a_net_of_each_kind_is_one_delegate_in_executorch_without_float_but_for_layer_norm(
    name: str, row_of: Rows
) -> None:
    assert named(cell_of(row_of(name), Format.EXECUTORCH)) == ({"LayerNorm"} if name in LAYER_NORM else set())


@pytest.mark.parametrize("name", NAMES)
def test_a_net_of_each_kind_has_no_float_operator_in_tflite_but_layer_norm(name: str, row_of: Rows) -> None:
    assert named(cell_of(row_of(name), Format.TFLITE)) == ({"LayerNorm"} if name in LAYER_NORM else set())


@pytest.mark.parametrize("name", NAMES)
def test_a_net_of_each_kind_has_only_those_float_operators_in_onnx_that_have_no_kernel(name: str, row_of: Rows) -> None:
    assert named(cell_of(row_of(name), Format.ONNX)) == NO_KERNEL_IN_ONNX.get(name, set())


@pytest.mark.parametrize("format", Format)
@pytest.mark.parametrize("name", NAMES)
def test_inspect_formats_foretold_what_is_left_of_a_net_of_each_kind(name: str, format: Format, row_of: Rows) -> None:
    assert cell_of(row_of(name), format).surprises == ()


@pytest.mark.parametrize("name", NAMES)
def test_every_runtime_computes_what_pt2es_graph_does(name: str, row_of: Rows) -> None:
    row = row_of(name)
    assert len(row.agreements) == 4
    assert row.wrong == ()


@pytest.mark.parametrize("name", NAMES)
def test_the_current_runtimes_agree_about_a_net_of_each_kind(name: str, row_of: Rows) -> None:
    assert (row_of(name).runtimes_db or -math.inf) >= BETWEEN_DB


def test_the_bench_has_at_least_45_nets_and_each_name_once() -> None:
    assert len(NETS) >= 45
    assert len({net.name for net in NETS}) == len(NETS)
    assert len(SUBSET) == 8 and set(SUBSET) < set(NETS)


def artifact(
    format: Format, *operators: OperatorCount, delegates: int = 0, outside: tuple[str, ...] = (), notes: str = ""
) -> Artifact:
    return Artifact(
        format,
        Precision.INT8,
        Path("net"),
        "0" * 64,
        1,
        Layout.NCHW,
        operators,
        delegates,
        outside,
        (notes,) if notes else (),
        (),
    )


X = Node("x", "placeholder", "x", [], {}, (1, 3, 4, 4), "float32", "")
IMAGE_TO_IMAGE = Program((X, Node("output", "output", "output", [[{"node": "x"}]], {}, (), "", "")), {}, (X.shape,))
CONV = OperatorCount("Conv", Compute.INT8, 20)
ENDS = OperatorCount("Convert", Compute.CONVERT, 2)
GELU = OperatorCount("Gelu", Compute.FLOAT32, 3)
GELU_NOTE = "Gelu: 3 in float: ONNX Runtime has no integer kernel for it"


def test_an_integer_artifact_that_converts_at_its_ends_is_clean() -> None:
    assert cell(artifact(Format.EXECUTORCH, CONV, ENDS, delegates=1), ()).outcome is Outcome.CLEAN
    assert cell(artifact(Format.ONNX, CONV, ENDS), ()).outcome is Outcome.CLEAN
    assert cell(artifact(Format.TFLITE, CONV), ()).outcome is Outcome.CLEAN


def test_everything_that_is_not_an_integer_operator_of_one_delegate_is_a_leftover() -> None:
    outside = ("aten::view", "aten::view")
    found = cell(artifact(Format.EXECUTORCH, CONV, ENDS, GELU, delegates=3, outside=outside), ())
    assert found.leftovers == ("3 delegates", "float Gelu x3", "outside aten::view x2")
    dequantize = OperatorCount("DEQUANTIZE", Compute.CONVERT, 2)
    assert cell(artifact(Format.TFLITE, CONV, dequantize), ()).leftovers == ("float tensors of DEQUANTIZE x2",)


def test_changes_of_scale_and_transposes_inside_are_integers_but_remarked_on() -> None:
    transposes = OperatorCount("StaticTranspose", Compute.INT8, 5)
    ends = OperatorCount("Convert", Compute.CONVERT, 3)
    found = cell(artifact(Format.EXECUTORCH, CONV, ends, transposes, delegates=1), (), IMAGE_TO_IMAGE)
    assert (found.outcome, found.remarks) == (Outcome.CLEAN, ("1 changes of scale", "3 transposes"))
    turned = cell(artifact(Format.ONNX, CONV, OperatorCount("Transpose", Compute.INT8, 1)), (), IMAGE_TO_IMAGE)
    assert turned.surprises == ("transpose appeared in onnx",)


def test_a_float_operator_in_onnx_is_named_where_its_note_says_that_there_is_no_kernel() -> None:
    found = cell(artifact(Format.ONNX, CONV, GELU, notes=GELU_NOTE), ())
    assert (found.outcome, found.named) == (Outcome.NAMED, ("Gelu x3",))
    assert cell(artifact(Format.ONNX, CONV, GELU), ()).outcome is Outcome.LEFTOVERS
    assert cell(artifact(Format.TFLITE, CONV, GELU, notes=GELU_NOTE), ()).outcome is Outcome.LEFTOVERS


def test_a_note_cannot_excuse_an_operator_that_onnxruntime_has_in_integers() -> None:
    conv = OperatorCount("Conv", Compute.FLOAT32, 1)
    found = cell(artifact(Format.ONNX, conv, notes="Conv: 1 in float: ONNX Runtime has no integer kernel for it"), ())
    assert found.leftovers == ("float Conv x1",)


def test_the_pieces_of_a_layer_norm_are_named_as_one_and_what_is_more_is_a_leftover() -> None:
    note = "RSQRT: 2 in float: LiteRT has no integer kernel for aten.layer_norm.default in norm"
    pieces = [OperatorCount(name, Compute.FLOAT32, count) for name, count in (("RSQRT", 2), ("MUL", 4), ("SUB", 2))]
    found = cell(artifact(Format.TFLITE, CONV, *pieces, notes=note), ())
    assert (found.leftovers, found.named) == ((), ("LayerNorm x2",))
    too_many = OperatorCount("ADD", Compute.FLOAT32, 7)
    assert "float ADD x7" in cell(artifact(Format.TFLITE, CONV, *pieces, too_many, notes=note), ()).leftovers
    conv = OperatorCount("CONV_2D", Compute.FLOAT32, 1)
    assert "float CONV_2D x1" in cell(artifact(Format.TFLITE, CONV, *pieces, conv, notes=note), ()).leftovers
    assert "float RSQRT x2" in cell(artifact(Format.TFLITE, CONV, *pieces), ()).leftovers


def row(*vs_pt2e_db: float, pt2e_db: float = 20.0, failure: Failure | None = None) -> Row:
    agreements = tuple(Agreement(f"runtime {k}", 20.0, value) for k, value in enumerate(vs_pt2e_db))
    cells = (Cell(Format.EXECUTORCH, agreements=agreements), Cell(Format.ONNX), Cell(Format.TFLITE))
    return Row("net", "code", True, 1.0, cells, pt2e_db, None, failure)


def test_a_runtime_whose_errors_are_independent_of_pt2es_is_not_wrong_and_one_further_off_is() -> None:
    assert row(17.0, 24.0).wrong == ()
    assert row(15.5, 24.0).wrong == ("runtime 0",)
    assert row(15.5, 24.0).outcome is Outcome.WRONG


def test_a_runtime_far_off_the_others_is_wrong_unless_it_is_closer_to_pt2e_than_float_is() -> None:
    assert row(40.0, 39.0, 21.0).wrong == ()
    assert row(40.0, 39.0, 19.0).wrong == ("runtime 2",)
    assert row(27.0, 26.0, 19.0).wrong == ()
    assert row(math.inf, math.inf).wrong == ()


def test_a_net_is_what_its_worst_format_is() -> None:
    refused, crashed = Failure("give another", True), Failure("it broke", False)
    clean, named = Cell(Format.TFLITE), Cell(Format.ONNX, named=("Gelu x3",))
    rows = [
        Row("clean", "", True, 1.0, (clean, clean)),
        Row("named", "", True, 1.0, (clean, named)),
        Row("leftovers", "", True, 1.0, (Cell(Format.ONNX, ("float Mul x1",)), named)),
        Row("refused", "", True, 1.0, (clean, Cell(Format.ONNX, failure=refused))),
        Row("crashed", "", True, 1.0, (clean, Cell(Format.ONNX, failure=crashed))),
        Row("crashed early", "", True, 1.0, failure=crashed),
        row(1.0, 24.0),
    ]
    text = "clean 1 / clean but for named operators 1 / leftovers 1 / refused 1 / wrong 1 / crashed 2 of 7"
    assert summary(rows) == text


def test_a_row_is_the_same_after_json_and_runtimes_that_agree_in_every_bit_stay_infinitely_close() -> None:
    written = replace(row(math.inf, 30.0), runtimes_db=math.inf)
    assert from_json(to_json(written)) == written


def test_every_line_of_the_table_has_the_headers_columns() -> None:
    columns = HEADER.splitlines()[0].count("|")
    timed = Cell(Format.ONNX, ("float Mul x1",), ("Gelu x3",), (), ("2 transposes",), 1.5, 2.5)
    failed = Cell(Format.TFLITE, failure=Failure("a | b", False))
    rows = [row(24.0, 30.0), row(1.0, 30.0), row(failure=Failure("a | b", False))]
    rows += [Row("x", "", False, 2.0, (timed, timed, failed))]
    rows += [Row("x", "", False, 2.0, failure=Failure("no such net", True))]
    assert {line(found).count("|") for found in rows} == {columns}


def test_a_net_that_edgeds_refuses_is_a_row_that_says_so(tmp_path: Path) -> None:
    (found,) = bench.coverage([Net("timm:no_such_net", "")], tmp_path / "rows.jsonl", quick=True)
    assert found.outcome is Outcome.REFUSED
    assert found.failure is not None and "timm has no model 'no_such_net'" in found.failure.text


def test_a_process_that_dies_is_a_row_that_crashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    (found,) = bench.coverage([SUBSET[0]], tmp_path / "rows.jsonl", quick=True)
    assert found.outcome is Outcome.CRASHED
    assert found.failure is not None and found.failure.text.startswith("exit code 1: ")


def test_an_interrupted_run_resumes_where_it_was_and_another_code_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, measured = tmp_path / "rows.jsonl", []

    def one(net: Net, photos: str, quick: bool, code: str) -> Row:
        measured.append(net.name)
        return Row(net.name, code, quick, 1.0)

    def interrupted(net: Net, photos: str, quick: bool, code: str) -> Row:
        if net is SUBSET[2]:
            raise KeyboardInterrupt
        return one(net, photos, quick, code)

    monkeypatch.setattr(bench, "AT_ONCE", 1)
    monkeypatch.setattr(bench, "_measured", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(bench.coverage(SUBSET[:3], out, quick=True))
    monkeypatch.setattr(bench, "_measured", one)
    assert [found.net for found in bench.coverage(SUBSET[:4], out, quick=True)] == NAMES[:4]
    assert measured == NAMES[:4]
    list(bench.coverage(SUBSET[:1], out, quick=False))  # other rows: with fp32
    monkeypatch.setattr(bench, "code_digest", lambda: "other")
    list(bench.coverage(SUBSET[:1], out, quick=True))
    assert measured[4:] == NAMES[:1] * 2
