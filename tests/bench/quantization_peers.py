"""Other quantizers on the same weights and images: each a function (fp32 net, calibration inputs, int8 file to write) that calls the public API."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeds.spec import Array

NNCF = ("nncf==3.4.0", "onnx==1.23.2", "onnxruntime==1.31.1")
# Run by NNCF's own Python: the fp32 .onnx, the inputs' .npy, the int8 .onnx, the input's name, the kind of ranges.
NNCF_SCRIPT = """
import sys
import nncf, numpy as np, onnx
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters as Advanced
from nncf.quantization.range_estimator import RangeEstimatorParametersSet as Ranges
source, inputs, target, name, ranges = sys.argv[1:]
data = nncf.Dataset(np.load(inputs), lambda x: {name: x[None]})
chosen = Advanced(activations_range_estimator_params=Ranges.MINMAX) if ranges == "minmax" else None
size, mixed = len(np.load(inputs)), nncf.QuantizationPreset.MIXED
onnx.save(nncf.quantize(onnx.load(source), data, subset_size=size, preset=mixed, advanced_parameters=chosen), target)
"""


@dataclass(frozen=True, slots=True)
class Fp32:
    """A net as each quantizer wants it: the module, in eval mode, or one of the files that edgeds exports of it; and a Python with NNCF."""

    module: torch.nn.Module
    onnx: Path
    tflite: Path
    nncf_python: Path


def onnxruntime_minmax(fp32: Fp32, inputs: Array, int8: Path) -> None:
    """onnxruntime quantize_static, ranges from the extremes."""
    _onnxruntime(fp32, inputs, int8, "MinMax", {})


def onnxruntime_percentile(fp32: Fp32, inputs: Array, int8: Path) -> None:
    """onnxruntime quantize_static, ranges that hold 99.999 % of all values."""
    _onnxruntime(fp32, inputs, int8, "Percentile", {"CalibPercentile": 99.999})


def ai_edge_default(fp32: Fp32, inputs: Array, int8: Path) -> None:
    """ai-edge-quantizer, static int8: ranges are moving averages."""
    from ai_edge_quantizer import quantizer, recipe

    made = quantizer.Quantizer(str(fp32.tflite), recipe.static_wi8_ai8())
    made.quantize(made.calibrate({"serving_default": _channels_last(inputs)}), serialize_to_path=str(int8))


def ai_edge_minmax(fp32: Fp32, inputs: Array, int8: Path) -> None:
    """ai-edge-quantizer with its other ranges, from the extremes; it has no public switch for a whole model."""
    from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    chosen = recipe.static_wi8_ai8()
    made = quantizer.Quantizer(str(fp32.tflite), chosen)
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(chosen)
    watch = calibrator.Calibrator(str(fp32.tflite), qsv_update_func=qsv_utils.min_max_update)
    watch.calibrate({"serving_default": _channels_last(inputs)}, manager)
    made.quantize(watch.get_model_qsvs(), serialize_to_path=str(int8))


def litert_torch_pt2e(fp32: Fp32, inputs: Array, int8: Path) -> None:
    """litert-torch's own PT2EQuantizer, its weights per channel: ranges are its histograms'."""
    import litert_torch
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
    from litert_torch.quantize.quant_config import QuantConfig
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = PT2EQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    rows = [torch.from_numpy(row[None]) for row in inputs]
    channels_last = litert_torch.to_channel_last_io(fp32.module, args=[0])
    samples = [(row.permute(0, 2, 3, 1).contiguous(),) for row in rows]
    prepared = prepare_pt2e(torch.export.export(channels_last, samples[0], strict=True).module(), quantizer)
    with torch.no_grad():
        for sample in samples:
            prepared(*sample)
    made = convert_pt2e(prepared, fold_quantize=False)
    litert_torch.convert(made, samples[0], quant_config=QuantConfig(pt2e_quantizer=quantizer)).export(str(int8))


def nncf_default(fp32: Fp32, inputs: Array, int8: Path) -> None:
    """NNCF's post-training quantization with its own bias correction: ranges are means of extremes."""
    _nncf(fp32, inputs, int8, "default")


def nncf_minmax(fp32: Fp32, inputs: Array, int8: Path) -> None:
    """The same with ranges from the extremes."""
    _nncf(fp32, inputs, int8, "minmax")


def nncf_environment(place: Path) -> Path:
    """The Python of an environment that has NNCF, made in `place` unless it is there."""
    python = place / "bin" / "python"
    if not python.exists():
        venv.create(place, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *NNCF], check=True, stderr=subprocess.DEVNULL)
    return python


def _nncf(fp32: Fp32, inputs: Array, int8: Path, ranges: str) -> None:
    import onnx

    data = int8.with_suffix(".npy")
    np.save(data, inputs)
    name = onnx.load(fp32.onnx).graph.input[0].name
    command = [fp32.nncf_python, "-c", NNCF_SCRIPT, fp32.onnx, data, int8, name, ranges]
    subprocess.run(command, check=True, stdout=sys.stderr)


def _onnxruntime(fp32: Fp32, inputs: Array, int8: Path, method: str, extra: dict[str, Any]) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = int8.with_suffix(".prepared.onnx")
    quant_pre_process(str(fp32.onnx), str(prepared), skip_symbolic_shape=True)
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
