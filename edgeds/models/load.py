"""One function that finds, makes and checks a model, whatever form its reference has."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from edgeds.errors import InputError, ModelError
from edgeds.models import user
from edgeds.models.sources import Found, Options, Shapes, from_archive, from_timm, from_torchvision, from_zoo
from edgeds.models.weights import load_weights, pretrained_names
from edgeds.models.zoo import ZOO
from edgeds.spec import Model, Preprocess

if TYPE_CHECKING:
    from torch import nn

PRETRAINED = "pretrained"
EXTERNAL = {"torchvision": from_torchvision, "timm": from_timm}
FORMS = "path/to/file.py:factory, package.module:factory, model.pt2, torchvision:NAME or timm:NAME"


def load_model(
    ref: str,
    *,
    weights: str | None = None,
    input_shapes: tuple[tuple[int, ...], ...] | None = None,
    preprocess: Preprocess | None = None,
    labels: tuple[str, ...] = (),
    seed: int = 0,
    width: float | None = None,
    num_classes: int | None = None,
    input_size: int | None = None,
) -> Model:
    """Load a model: float32, on the CPU, in eval mode, without gradients.

    `ref` is a zoo name, `path/to/file.py:factory`, `package.module:factory`, a torch.export archive `model.pt2`,
    `torchvision:NAME` or `timm:NAME`. `weights` is a .pt, .pth or .safetensors file, or "pretrained" for the published
    ones. `input_shapes` has a shape for each positional input, the batch first; it, `preprocess` and `labels` replace
    what the model brings. `seed` makes all random weights. `width`, `num_classes` and `input_size` (pixels of a side;
    frames for audio) are for zoo models.

    Raises ModelError or InputError where the model or an argument cannot be used, ToolError where a library is missing.
    """
    options = Options(weights == PRETRAINED, input_shapes, seed, width, num_classes, input_size)
    _check_zoo_options(ref, options)
    found = _find(ref, options)
    weights_text, seeded = found.weights, found.seeded
    if weights is not None and weights != PRETRAINED:
        weights_text, seeded = load_weights(found.module, weights), False
    shapes = input_shapes or found.input_shapes
    _check_shapes(ref, shapes)
    return Model(
        name=found.name,
        module=_ready(found.module, ref),
        input_shapes=shapes,
        weights=weights_text,
        seeded=seeded,
        preprocess=preprocess or found.preprocess,
        labels=labels or found.labels,
    )


def _check_zoo_options(ref: str, options: Options) -> None:
    if ref in ZOO or not (":" in ref or ref.endswith(".pt2")):
        return
    for name in ("width", "num_classes", "input_size"):
        if (value := getattr(options, name)) is not None:
            raise InputError(
                f"--{name.replace('_', '-')} {value} is for zoo models ({', '.join(ZOO)}), not for {ref!r}; build it into the model instead"
            )


def _find(ref: str, options: Options) -> Found:
    """The model that a reference means."""
    if ref in ZOO:
        return from_zoo(ZOO[ref], options)
    prefix, _, name = ref.partition(":")
    if prefix in EXTERNAL and name:
        return EXTERNAL[prefix](name, options)
    is_archive, is_python = ref.endswith(".pt2"), all(ref.rpartition(":"))
    if (is_archive or is_python) and options.pretrained:
        raise ModelError(
            f"there are no pretrained weights for {ref!r}; give --weights FILE, or choose from "
            f"{', '.join(pretrained_names())}, torchvision:NAME, timm:NAME"
        )
    if is_archive:
        return from_archive(Path(ref))
    if is_python:
        return _from_python(ref, options.seed)
    raise _unknown(ref)


def _unknown(ref: str) -> ModelError:
    """The error for a reference of no known form: says what it might have been."""
    suffix = Path(ref).suffix
    if suffix == ".py":
        return ModelError(f"{ref!r} does not say which model in the file; name it: {ref}:factory")
    if suffix in (".pt", ".pth", ".safetensors"):
        return ModelError(f"{ref!r} holds weights, not a model; name the model and give --weights {ref}")
    if ref and Path(ref).is_dir():
        bundle = (Path(ref) / "manifest.json").is_file()
        what = "a bundle, not a model; `edgeds export` and `edgeds validate` take it" if bundle else "a folder"
        return ModelError(f"{ref!r} is {what}; as a model give a zoo name (see `edgeds models`), {FORMS}")
    close = difflib.get_close_matches(ref, ZOO, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return ModelError(f"unknown model {ref!r}; {hint}choose from {', '.join(ZOO)}; or give {FORMS}")


def _from_python(ref: str, seed: int) -> Found:
    made = user.make(ref, seed)
    if isinstance(made, Model):
        return Found(made.name, made.module, made.weights, made.seeded, made.input_shapes, made.preprocess, made.labels)
    return Found(
        name=ref.rpartition(":")[2],
        module=made,
        weights="as the factory made them",
        input_shapes=_own_shapes(made, ref),
        preprocess=_own_preprocess(made, ref),
        labels=_own_labels(made, ref),
    )


def _own_shapes(module: nn.Module, ref: str) -> Shapes:
    """What a module's attribute `input_shapes` or `input_shape` says; nothing where it has none."""
    shapes = getattr(module, "input_shapes", None)
    if shapes is None:
        shape = getattr(module, "input_shape", None)
        shapes = () if shape is None else (shape,)
    sequences = isinstance(shapes, list | tuple) and all(isinstance(shape, list | tuple) for shape in shapes)
    if not sequences or not all(type(dim) is int for shape in shapes for dim in shape):
        raise ModelError(f"{ref!r} has input shapes {shapes!r}; use tuples of integers, like (1, 3, 224, 224)")
    return tuple(tuple(shape) for shape in shapes)


def _own_preprocess(module: nn.Module, ref: str) -> Preprocess | None:
    """A module's attribute `preprocess`; a method of that name means something else."""
    own = getattr(module, "preprocess", None)
    if own is None or isinstance(own, Preprocess):
        return own
    if callable(own):
        return None
    raise ModelError(f"{ref!r} has a preprocess that is a {type(own).__name__}; make it an edgeds.spec.Preprocess")


def _own_labels(module: nn.Module, ref: str) -> tuple[str, ...]:
    own = getattr(module, "labels", ())
    if callable(own):
        return ()
    if isinstance(own, list | tuple) and all(isinstance(label, str) for label in own):
        return tuple(own)
    raise ModelError(f"{ref!r} has labels that are a {type(own).__name__}; make them a tuple of strings")


def _check_shapes(ref: str, shapes: Shapes) -> None:
    if not shapes:
        raise ModelError(
            f"the input shape of {ref!r} is unknown; give --input-shape 1,3,224,224, or set `input_shape` on the module"
        )


def _ready(module: nn.Module, ref: str) -> nn.Module:
    """The module in eval mode, without gradients. Raises ModelError unless all of it is finite float32 on the CPU."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.device.type != "cpu":
            raise ModelError(f"{ref!r} has {name!r} on {tensor.device}; return the model with .to('cpu')")
        if (tensor.is_floating_point() or tensor.is_complex()) and str(tensor.dtype) != "torch.float32":
            raise ModelError(f"{ref!r} has {name!r} in {str(tensor.dtype)[6:]}; return the model with .float()")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(f"{ref!r} has NaN or infinite numbers in {name!r}; give other weights")
    if any(part.training for part in module.modules()):
        module.eval()
    return module.requires_grad_(False)
