"""edgeds: one quantization, three formats, and proof of what arrives on the device.

    model = edgeds.load_model("efficientnet_lite0", weights="pretrained")
    quantized = edgeds.quantize(model, "photos/")
    bundle = edgeds.export(quantized, "lite0")
    report = edgeds.validate(bundle)
    latencies = edgeds.bench(bundle, ["raspberry-pi-4"]).latencies

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Model",
    "Preprocess",
    "bench",
    "capture",
    "evaluate",
    "export",
    "load_model",
    "load_quantized",
    "quantize",
    "sensitivity",
    "validate",
    "violations",
]

if TYPE_CHECKING:
    from edgeds.evaluating import evaluate
    from edgeds.models import load_model
    from edgeds.pipeline import bench, capture, export, load_quantized, quantize, validate, violations
    from edgeds.sensing import sensitivity
    from edgeds.spec import Model, Preprocess

# all others are the pipeline's
_FROM = {"Model": "spec", "Preprocess": "spec", "evaluate": "evaluating", "sensitivity": "sensing"}


def __getattr__(name: str) -> Any:
    import importlib

    if name not in __all__:
        raise AttributeError(f"module 'edgeds' has no attribute {name!r}")
    if name in ("export", "quantize"):  # packages that can be called, see edgeds.callable_package
        return importlib.import_module(f"edgeds.{name}")
    return getattr(importlib.import_module(f"edgeds.{_FROM.get(name, 'pipeline')}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
