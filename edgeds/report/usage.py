"""How an artifact is fed and read, in words: what a programmer of a phone needs to know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeds.recipe import KEEPING_FLOAT
from edgeds.report.rows import TIMES, shapes
from edgeds.spec import Artifact, ColorOrder, Format, Layout, Manifest, Precision, Preprocess, TensorQuantization

_DETAILS = "scale and zero point as the interpreter's {} details say"
SATURATION = (
    "On x86 without VNNI set session.x64quantprecision to \"1\" in the session's options, as agent.py does; else ONNX Runtime's products "
    "saturate there, and its answers are far worse than those measured here. ARM and newer x86 need nothing."
)
CHANNELS = {ColorOrder.RGB: "red, green, blue", ColorOrder.BGR: "blue, green, red", ColorOrder.GRAY: "grey"}


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: type and shape, and where it holds integers the formula from or to real values."""

    text: str
    formula: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """An artifact's file, and what it takes and gives."""

    name: str
    file: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    caution: str = ""


def usage(manifest: Manifest, artifact: Artifact) -> Usage:
    """Layout and type of an artifact's inputs and outputs, with scale and zero point where they are integers."""
    inputs, outputs = manifest.model.input_shapes, manifest.model.output_shapes
    if _is_mixed(manifest, artifact):
        ports = (
            tuple(_either(s, artifact, "input") for s in inputs),
            tuple(_either(s, artifact, "output") for s in outputs),
        )
    elif _takes_integers(artifact):
        first, last = _input_and_output(manifest)
        ports = (
            tuple(_integer_input(s, artifact, first) for s in inputs),
            tuple(_integer_output(s, artifact, last) for s in outputs),
        )
    else:
        ports = tuple(_float(s, artifact) for s in inputs), tuple(_float(s, artifact) for s in outputs)
    saturates = artifact.format is Format.ONNX and artifact.precision is Precision.INT8
    return Usage(artifact.name, artifact.path.as_posix(), *ports, caution=SATURATION if saturates else "")


def preparation(preprocess: Preprocess, input_shape: tuple[int, ...]) -> tuple[str, ...]:
    """The steps from a photo to the float input x of shape [N, C, H, W]."""
    height, width = input_shape[2:]
    return tuple(_steps(preprocess, f"{width}{TIMES}{height}"))


def _steps(preprocess: Preprocess, size: str) -> Iterator[str]:
    yield f"Decode the image to 8 bits a channel ({CHANNELS[preprocess.color_order]}) and turn it upright as its EXIF orientation says."
    filtered = (
        f"{preprocess.interpolation}, antialiased as Pillow does"
        if preprocess.interpolation != "nearest"
        else "nearest pixel"
    )
    if preprocess.resize:
        yield f"Resize it so that its short side has {preprocess.resize} pixels ({filtered})."
        yield f"Cut {size} pixels out of its centre."
    else:
        yield f"Resize the whole image to {size} pixels ({filtered})."
    yield f"x = (pixel / 255 - mean) / std, with {_mean_and_std(preprocess)}."


def _mean_and_std(preprocess: Preprocess) -> str:
    if len(set(preprocess.mean)) == len(set(preprocess.std)) == 1:
        return f"mean {preprocess.mean[0]:.9g} and std {preprocess.std[0]:.9g}"
    mean, std = (", ".join(f"{v:.9g}" for v in values) for values in (preprocess.mean, preprocess.std))
    return f"mean {mean} and std {std} for {CHANNELS[preprocess.color_order]}"


def _takes_integers(artifact: Artifact) -> bool:
    """Only an int8 `.tflite` does, unless it was given float inputs: then QUANTIZE is its first operator."""
    if artifact.format is not Format.TFLITE or artifact.precision is not Precision.INT8:
        return False
    return all(operator.name != "QUANTIZE" for operator in artifact.operators)


def _is_mixed(manifest: Manifest, artifact: Artifact) -> bool:
    """Whether it is an int8 `.tflite` in which some layers stay in float: then its first or last may be among them."""
    int8_tflite = artifact.format is Format.TFLITE and artifact.precision is Precision.INT8
    return int8_tflite and KEEPING_FLOAT in (manifest.recipe or "")


def _either(shape: tuple[int, ...], artifact: Artifact, side: str) -> Port:
    return Port(f"int8 or float32 {_shape(shape, artifact)}: type, {_DETAILS.format(side)}")


def _shape(shape: tuple[int, ...], artifact: Artifact) -> str:
    if len(shape) != 4:
        return shapes((shape,))
    if artifact.layout is Layout.NHWC:
        shape = (shape[0], *shape[2:], shape[1])
    return f"{shapes((shape,))} ({artifact.layout.upper()})"


def _input_and_output(manifest: Manifest) -> tuple[TensorQuantization | None, TensorQuantization | None]:
    """The quantization of the only input and the only output; None where there are several, for the list does not say which is whose.

    Tensors stand in the order of the graph, so that the input is the first activation and the output the last one.
    """
    activations = [tensor for tensor in manifest.quantization if tensor.axis is None]
    if not activations:
        return None, None
    model = manifest.model
    return (
        activations[0] if len(model.input_shapes) == 1 else None,
        activations[-1] if len(model.output_shapes) == 1 else None,
    )


def _float(shape: tuple[int, ...], artifact: Artifact) -> Port:
    return Port(f"float32 {_shape(shape, artifact)}")


def _integer_input(shape: tuple[int, ...], artifact: Artifact, tensor: TensorQuantization | None) -> Port:
    if tensor is None:
        return Port(f"int8 {_shape(shape, artifact)}, {_DETAILS.format('input')}")
    shifted = f"round(x / {tensor.scale[0]:.9g}){_plus(tensor.zero_point[0])}"
    formula = f"q = clamp({shifted}, {tensor.quant_min}, {tensor.quant_max})"
    return Port(f"int8 {_shape(shape, artifact)}, {_scale(tensor)}", formula)


def _integer_output(shape: tuple[int, ...], artifact: Artifact, tensor: TensorQuantization | None) -> Port:
    if tensor is None:
        return Port(f"int8 {_shape(shape, artifact)}, {_DETAILS.format('output')}")
    shifted = f"(q{_plus(-tensor.zero_point[0])})" if tensor.zero_point[0] else "q"
    return Port(f"int8 {_shape(shape, artifact)}, {_scale(tensor)}", f"y = {tensor.scale[0]:.9g} · {shifted}")


def _scale(tensor: TensorQuantization) -> str:
    return f"scale {tensor.scale[0]:.9g}, zero point {tensor.zero_point[0]}"


def _plus(number: int) -> str:
    return f" {'+' if number > 0 else '-'} {abs(number)}" if number else ""
