"""Branches that a model has for training only become the one convolution they compute: RepVGG, MobileOne, RepViT, FastViT and their kin.

Such models offer it themselves: parts of them have a method `fuse`, `reparameterize` or `switch_to_deploy`. It is called on a copy, and the
copy is taken only where it computes the same: five times faster for MobileOne, and the very weights that its authors deploy.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeds.models.weights import one_line
from edgeds.spec import Model

if TYPE_CHECKING:
    import torch
    from torch import nn

METHODS = ("fuse", "reparameterize", "switch_to_deploy")  # in timm's order: timm.models.reparameterize_model
RELATIVE_TOLERANCE = 1e-5


def reparameterize(model: Model) -> tuple[Model, tuple[str, ...]]:
    """The model with its parts in the form for deployment, and a sentence where that was undone. `model.module` is not changed.

    A model whose parts offer nothing comes back as it is.
    """
    names = sorted({type(part).__name__ for part in model.module.modules() if _method(part) is not None})
    if not names:
        return model, ()
    kinds = ", ".join(names)
    try:
        deployed, error = _deployed(model)
    except Exception as failure:  # noqa: BLE001  whatever the model's own code raises; it is named, and the branches stay
        return model, (f"{kinds} could not be reparameterized ({one_line(failure)}); the model keeps its branches",)
    if error > RELATIVE_TOLERANCE:
        return model, (f"reparameterizing {kinds} changed the output by {error:.1e} (relative) and was undone",)
    return replace(model, module=deployed), ()


def _deployed(model: Model) -> tuple[nn.Module, float]:
    """A reparameterized copy, and its error: done and compared in double precision, so that only a wrong rewrite makes a difference."""
    import torch

    with torch.no_grad(), _double():
        original = copy.deepcopy(model.module).double()
        holder = torch.nn.ModuleDict({"model": copy.deepcopy(original)})
        _convert_children(holder)
        deployed = holder["model"].double().eval().requires_grad_(False)
        generator = torch.Generator().manual_seed(0)
        # within 0..1, so that those which the model takes for indices are some
        inputs = [torch.rand(shape, generator=generator) for shape in model.input_shapes]
        error = _error(_run(original, inputs), _run(deployed, inputs))
    return deployed.float(), error


@contextmanager
def _double() -> Iterator[None]:
    """New tensors and layers are double ones: what the model's methods make fits to the copy's weights."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _convert_children(parent: nn.Module) -> None:
    import torch

    for name, part in list(parent.named_children()):
        method = _method(part)
        made = method() if method is not None else None
        if isinstance(made, torch.nn.Module):  # `fuse` returns what stands in the part's place
            setattr(parent, name, made) if not isinstance(parent, torch.nn.ModuleDict) else parent.update({name: made})
        _convert_children(parent.get_submodule(name))


def _method(part: nn.Module) -> Callable[[], Any] | None:
    """The first of the methods that a part has and that needs no argument."""
    for name in METHODS:
        method = getattr(part, name, None)
        if not callable(method):
            continue
        try:
            inspect.signature(method).bind()
        except (TypeError, ValueError):
            continue
        return method  # type: ignore[no-any-return]  # whatever it is, it can be called
    return None


def _run(module: nn.Module, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    import torch
    from torch.utils._pytree import tree_leaves

    values = tree_leaves(module(*(tensor.clone() for tensor in inputs)))
    return [value for value in values if isinstance(value, torch.Tensor)]


def _error(expected: list[torch.Tensor], found: list[torch.Tensor]) -> float:
    """The largest difference over the largest value of an output; infinite where shapes differ or numbers are not finite."""
    import math

    if [value.shape for value in expected] != [value.shape for value in found]:
        return math.inf
    errors = [float((a - b).abs().max() / a.abs().max().clamp_min(1e-30)) for a, b in zip(expected, found, strict=True)]
    return max((error if math.isfinite(error) else math.inf for error in errors), default=0.0)
