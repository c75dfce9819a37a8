"""Arguments of a program's operators as JSON values: numbers, strings, lists, and for what JSON lacks an object with one key.

{"node": name}, {"dtype": "int8"}, {"layout": "strided"}, {"device": "cpu"}, {"memory_format": "contiguous_format"},
{"float": "inf"}, {"dict": {...}}.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from edgeds.errors import BundleError, ModelError

KINDS = ("node", "dtype", "layout", "memory_format", "device", "float", "dict")


def encode_mapping(values: dict[str, Any]) -> dict[str, Any]:
    """`encode` of each value."""
    return {key: encode(value) for key, value in values.items()}


def encode(value: Any) -> Any:
    """An argument of a torch.fx node as a JSON value. Raises ModelError for one that is not static."""
    import torch
    from torch import fx

    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {"dict": encode_mapping(value)}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    for kind, cls in (("dtype", torch.dtype), ("layout", torch.layout), ("memory_format", torch.memory_format)):
        if isinstance(value, cls):
            return {kind: str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": "cpu"}
    raise ModelError(
        f"an operator's argument {value!r} ({type(value).__name__}) is not static; "
        "fix the input shape and avoid data-dependent sizes"
    )


def decode(value: Any, made: dict[str, Any]) -> Any:
    """The argument of which `encode` made this; `made` are the nodes so far, by name."""
    if isinstance(value, list):
        return [decode(item, made) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    return _DECODERS[kind](content, made)


def decode_mapping(values: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """`decode` of each value."""
    return {key: decode(item, made) for key, item in values.items()}


def objects(value: Any) -> Iterator[tuple[str, Any]]:
    """Every object inside an argument, as its one key and what stands there; an object with more keys or none has the kind of all."""
    if isinstance(value, list):
        for item in value:
            yield from objects(item)
    elif isinstance(value, dict):
        for content in value.values() if len(value) == 1 else [None]:
            yield ", ".join(value), content
            if isinstance(content, dict):
                yield from objects(list(content.values()))


def _torch_constant(name: str) -> Any:
    import torch

    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype | torch.layout | torch.memory_format):
        raise BundleError(f"{name!r} is no torch dtype, layout or memory format")
    return found


_DECODERS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "node": lambda content, made: made[content],
    "dtype": lambda content, made: _torch_constant(content),
    "layout": lambda content, made: _torch_constant(content),
    "memory_format": lambda content, made: _torch_constant(content),
    "device": lambda content, made: "cpu",
    "float": lambda content, made: float(content),
    "dict": decode_mapping,
}
