"""How an artifact is used, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeds.report.usage import Port, preparation, usage
from edgeds.spec import ColorOrder, Compute, Format, Interpolation, Manifest, OperatorCount, Precision, Preprocess

IMAGENET = Preprocess(256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def ports(manifest: Manifest, format: Format, precision: Precision) -> tuple[Port, Port]:
    artifact = next(a for a in manifest.artifacts if (a.format, a.precision) == (format, precision))
    found = usage(manifest, artifact)
    return found.inputs[0], found.outputs[0]


@pytest.mark.parametrize("format", [Format.EXECUTORCH, Format.ONNX])
@pytest.mark.parametrize("precision", list(Precision))
def test_executorch_and_onnx_take_floats_as_pytorch_does(lite0: Manifest, format: Format, precision: Precision) -> None:
    assert ports(lite0, format, precision) == (Port("float32 1×3×224×224 (NCHW)"), Port("float32 1×1000"))


def test_an_int8_tflite_takes_channels_last_integers_with_the_scale_of_the_graph(lite0: Manifest) -> None:
    into, out = ports(lite0, Format.TFLITE, Precision.INT8)
    assert into.text == "int8 1×224×224×3 (NHWC), scale 0.00777816679, zero point 0"
    assert into.formula == "q = clamp(round(x / 0.00777816679), -128, 127)"
    assert out == Port("int8 1×1000, scale 0.062918447, zero point -52", "y = 0.062918447 · (q + 52)")


def test_a_zero_point_is_added_to_the_input(lite0: Manifest) -> None:
    first = replace(lite0.quantization[0], zero_point=(-14,))
    into, _ = ports(replace(lite0, quantization=(first, *lite0.quantization[1:])), Format.TFLITE, Precision.INT8)
    assert into.formula == "q = clamp(round(x / 0.00777816679) - 14, -128, 127)"


def test_a_float_tflite_takes_channels_last_floats(lite0: Manifest) -> None:
    assert ports(lite0, Format.TFLITE, Precision.FP32)[0] == Port("float32 1×224×224×3 (NHWC)")


def test_an_int8_tflite_that_converts_floats_itself_takes_floats(lite0: Manifest) -> None:
    artifact = next(a for a in lite0.artifacts if a.name == "tflite-int8")
    converting = replace(artifact, operators=(*artifact.operators, OperatorCount("QUANTIZE", Compute.CONVERT, 1)))
    assert usage(lite0, converting).inputs == (Port("float32 1×224×224×3 (NHWC)"),)


def test_of_several_integer_inputs_no_scale_is_guessed(lite0: Manifest) -> None:
    model = replace(lite0.model, input_shapes=((1, 3, 8, 8), (1, 4)))
    artifact = next(a for a in lite0.artifacts if a.name == "tflite-int8")
    assert usage(replace(lite0, model=model), artifact).inputs == (
        Port("int8 1×8×8×3 (NHWC), scale and zero point as the interpreter's input details say"),
        Port("int8 1×4, scale and zero point as the interpreter's input details say"),
    )


def test_where_layers_stay_in_float_the_type_of_an_input_is_not_guessed(lite0: Manifest) -> None:
    mixed = replace(lite0, recipe=f"{lite0.recipe}+float:stem")
    into, out = ports(mixed, Format.TFLITE, Precision.INT8)
    details = "scale and zero point as the interpreter's {} details say"
    assert into == Port(f"int8 or float32 1×224×224×3 (NHWC): type, {details.format('input')}")
    assert out == Port(f"int8 or float32 1×1000: type, {details.format('output')}")
    assert ports(mixed, Format.ONNX, Precision.INT8)[0] == Port("float32 1×3×224×224 (NCHW)")


def test_preparation_is_resize_crop_and_normalization_in_words() -> None:
    steps = preparation(IMAGENET, (1, 3, 192, 224))
    assert "(red, green, blue)" in steps[0]
    assert steps[1:3] == (
        "Resize it so that its short side has 256 pixels (bilinear, antialiased as Pillow does).",
        "Cut 224×192 pixels out of its centre.",
    )
    assert steps[3].endswith("with mean 0.485, 0.456, 0.406 and std 0.229, 0.224, 0.225 for red, green, blue.")


def test_without_a_short_side_the_whole_image_is_squeezed() -> None:
    steps = preparation(replace(IMAGENET, resize=0, interpolation=Interpolation.NEAREST), (1, 3, 192, 224))
    assert steps[1] == "Resize the whole image to 224×192 pixels (nearest pixel)."
    assert len(steps) == 3


def test_mean_and_std_belong_to_the_channels_in_their_order() -> None:
    assert preparation(replace(IMAGENET, color_order=ColorOrder.BGR), (1, 3, 8, 8))[-1].endswith(
        "for blue, green, red."
    )
    gray = Preprocess(0, (0.5,), (0.25,), color_order=ColorOrder.GRAY)
    assert preparation(gray, (1, 1, 8, 8))[-1] == "x = (pixel / 255 - mean) / std, with mean 0.5 and std 0.25."


def test_who_runs_an_int8_onnx_is_told_of_saturation(lite0: Manifest) -> None:
    cautions = {artifact.name: usage(lite0, artifact).caution for artifact in lite0.artifacts}
    assert {name for name, caution in cautions.items() if "session.x64quantprecision" in caution} == {"onnx-int8"}
