"""Other quantizers on the same weights and images: each a function (fp32 file, calibration inputs, int8 file to write) that calls the public API."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgeds.spec import Array

NNCF = ("nncf==3.4.0", "onnx==1.23.2", "onnxruntime==1.31.1")
# Run by NNCF's own Python: the fp32 .onnx, the inputs' .npy, the int8 .onnx, the input's name.
NNCF_SCRIPT = """
import sys
import nncf, numpy as np, onnx
source, inputs, target, name = sys.argv[1:]
data = nncf.Dataset(np.load(inputs), lambda x: {name: x[None]})
made = nncf.quantize(onnx.load(source), data, subset_size=len(np.load(inputs)), preset=nncf.QuantizationPreset.MIXED)
onnx.save(made, target)
"""


def onnxruntime_minmax(fp32: Path, inputs: Array, int8: Path) -> None:
    """onnxruntime quantize_static, ranges from the extremes."""
    _onnxruntime(fp32, inputs, int8, "MinMax", {})


def onnxruntime_percentile(fp32: Path, inputs: Array, int8: Path) -> None:
    """onnxruntime quantize_static, ranges that hold 99.999 % of all values."""
    _onnxruntime(fp32, inputs, int8, "Percentile", {"CalibPercentile": 99.999})


def ai_edge_default(fp32: Path, inputs: Array, int8: Path) -> None:
    """ai-edge-quantizer, static int8: ranges are moving averages."""
    from ai_edge_quantizer import quantizer, recipe

    made = quantizer.Quantizer(str(fp32), recipe.static_wi8_ai8())
    made.quantize(made.calibrate({"serving_default": _channels_last(inputs)}), serialize_to_path=str(int8))


def ai_edge_minmax(fp32: Path, inputs: Array, int8: Path) -> None:
    """ai-edge-quantizer with its other ranges, from the extremes; it has no public switch for a whole model."""
    from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    chosen = recipe.static_wi8_ai8()
    made = quantizer.Quantizer(str(fp32), chosen)
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(chosen)
    watch = calibrator.Calibrator(str(fp32), qsv_update_func=qsv_utils.min_max_update)
    watch.calibrate({"serving_default": _channels_last(inputs)}, manager)
    made.quantize(watch.get_model_qsvs(), serialize_to_path=str(int8))


def nncf_minmax(fp32: Path, inputs: Array, int8: Path) -> None:
    """NNCF's post-training quantization with its own bias correction, in an environment of its own beside the int8 file."""
    import onnx

    place = int8.parent / "nncf-env"
    python = place / "bin" / "python"
    if not python.exists():
        venv.create(place, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *NNCF], check=True)
    data = int8.with_suffix(".npy")
    np.save(data, inputs)
    name = onnx.load(fp32).graph.input[0].name
    subprocess.run([python, "-c", NNCF_SCRIPT, fp32, data, int8, name], check=True, stdout=sys.stderr)


def _onnxruntime(fp32: Path, inputs: Array, int8: Path, method: str, extra: dict[str, Any]) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = int8.with_suffix(".prepared.onnx")
    quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(int8),
        _reader(prepared, inputs),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=getattr(CalibrationMethod, method),
        extra_options=extra,
    )


def _reader(model: Path, inputs: Array) -> Any:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader

    name = onnx.load(model).graph.input[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
        def __init__(self) -> None:
            self._rows: Iterator[dict[str, Array]] = ({name: row[None]} for row in inputs)

        def get_next(self) -> dict[str, Array] | None:
            return next(self._rows, None)

    return Reader()


def _channels_last(inputs: Array) -> list[dict[str, Array]]:
    return [{"args_0": np.ascontiguousarray(row.transpose(1, 2, 0))[None]} for row in inputs]
