"""Programs → artifacts: one exporter a format, each a module with FORMAT, SUFFIX, check, export and operators."""

from __future__ import annotations

from types import ModuleType

from edgeds.export import executorch, onnx, tflite
from edgeds.spec import Format

EXPORTERS: dict[Format, ModuleType] = {
    Format.EXECUTORCH: executorch,
    Format.ONNX: onnx,
    Format.TFLITE: tflite,
}
