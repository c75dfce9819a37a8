"""Programs → artifacts: one exporter a format, each a module with FORMAT, SUFFIX, PACKAGES, check, export and operators.

Called, the package is `edgeds.pipeline.export`.
"""

from __future__ import annotations

from types import ModuleType

from edgeds.callable_package import make_callable
from edgeds.export import executorch, onnx, tflite
from edgeds.spec import Format

EXPORTERS: dict[Format, ModuleType] = {
    Format.EXECUTORCH: executorch,
    Format.ONNX: onnx,
    Format.TFLITE: tflite,
}

make_callable(__name__)
