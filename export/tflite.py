"""TFLite: a flatbuffer with integer operators from end to end, channels last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeds import program as programs
from edgeds.export import tflite_buffer
from edgeds.export.artifact import counted, made, require
from edgeds.export.distinct_bias import distinct_bias
from edgeds.export.notes import cost_notes, float_input_notes, float_notes
from edgeds.export.own_dequantizes import own_dequantizes
from edgeds.export.refusal import refuse
from edgeds.export.unfold import unfold
from edgeds.spec import Artifact, Format, Layout, OperatorCount, Precision, Program, TfliteIo

FORMAT = Format.TFLITE
SUFFIX = ".tflite"
PACKAGES = ("litert-torch", "ai-edge-litert", "torch")


def check() -> None:
    """Raises ToolError with the pip line where a library is missing."""
    require("litert-torch", "ai-edge-litert")


def export(program: Program, precision: Precision, path: Path, io: TfliteIo = TfliteIo.INT8) -> Artifact:
    """Converts the program to `path`. 4-D inputs and outputs are NHWC; an int8 artifact's are int8 unless `io` says float."""
    import litert_torch
    import torch

    refuse(program, (FORMAT,))
    module = _as_litert_takes_it(program, precision)
    images = [k for k, shape in enumerate(program.input_shapes) if len(shape) == 4]
    maps = [k for k, shape in enumerate(programs.output_shapes(program)) if len(shape) == 4]
    inputs = tuple(torch.zeros(_channels_last(shape)) for shape in program.input_shapes)
    channels_last = litert_torch.to_channel_last_io(module, args=images, outputs=maps)
    with _integer_pads():
        converted = litert_torch.convert(channels_last, inputs, quant_config=_static(precision))
    converted.export(str(path))
    if precision is Precision.INT8 and io is TfliteIo.FLOAT:
        path.write_bytes(tflite_buffer.with_float_io(path.read_bytes()))
    executed = operators(path)
    notes = (
        *float_notes(program, precision, executed, FORMAT),
        *(float_input_notes(program, precision) if io is TfliteIo.INT8 else ()),
        *cost_notes(program, precision, FORMAT),
    )
    return made(FORMAT, precision, path, Layout.NHWC, executed, PACKAGES, notes=notes)


def _as_litert_takes_it(program: Program, precision: Precision) -> Any:
    """The program as a torch.fx.GraphModule, in forms that LiteRT has."""
    # not at import: these import torch, and so would whoever only looks at artifacts
    from edgeds.export.litert_forms import exact_comparisons, lone_clamp
    from edgeds.export.mish import mish_in_pieces

    module = programs.to_graph_module(distinct_bias(unfold(own_dequantizes(program))))
    if precision is Precision.INT8:
        mish_in_pieces(module)
        lone_clamp(module)
        exact_comparisons(module)
    return module


def operators(path: Path) -> tuple[OperatorCount, ...]:
    """The operators of a `.tflite`, by what their first output is; quantize and dequantize are conversions."""
    return counted(tflite_buffer.operators(path.read_bytes()))


def _channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape


def _static(precision: Precision) -> Any:
    """litert-torch reads static quantize and dequantize nodes only when it is given a config; which quantizer stands in it does not matter."""
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
    from litert_torch.quantize.quant_config import QuantConfig

    if precision is Precision.FP32:
        return None
    config = get_symmetric_quantization_config(is_per_channel=True)
    return QuantConfig(pt2e_quantizer=PT2EQuantizer().set_global(config))


@contextmanager
def _integer_pads() -> Iterator[None]:
    """litert-torch 0.10 has no channels-last rule for constant_pad_nd, and would put a transpose on each side of every pad: lends it one."""
    import torch
    from litert_torch._convert.fx_passes.optimize_layout_transposes_pass.layout_rewrite import rewriters

    operator = torch.ops.aten.constant_pad_nd.default
    known = operator in rewriters
    if not known:
        rewriters.register(operator)(_pad_channels_last)
    try:
        yield
    finally:
        if not known:
            del rewriters[operator]


def _pad_channels_last(node: Any) -> None:
    amounts = [*node.args[1], *[0] * (8 - len(node.args[1]))]
    width, height, channels, batch = (amounts[k : k + 2] for k in (0, 2, 4, 6))
    node.args = (node.args[0], channels + width + height + batch, *node.args[2:])
