"""Models that are not a user's Python: the zoo, torch.export archives, torchvision and timm."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import math
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edgeds.errors import InputError, ModelError, ToolError
from edgeds.models.weights import assign, describe, one_line, pretrained
from edgeds.models.zoo import ZooEntry
from edgeds.spec import Interpolation, Preprocess

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A module, and what its source knows about it. `input_shapes` is empty where it does not know them."""

    name: str
    module: nn.Module
    weights: str
    seeded: bool = False
    input_shapes: Shapes = ()
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may change about a model. `pretrained` asks for the published weights."""

    pretrained: bool
    input_shapes: Shapes | None
    seed: int
    width: float | None
    num_classes: int | None
    input_size: int | None


def from_zoo(entry: ZooEntry, options: Options) -> Found:
    """A zoo model; an input shape sets its input size. Raises InputError, ModelError, ToolError."""
    size, shape = _zoo_input(entry, options)
    classes = entry.num_classes if options.num_classes is None else options.num_classes
    module = entry.factory(1.0 if options.width is None else options.width, classes, size, options.seed)
    weights = f"seeded ({options.seed})"
    if options.pretrained:
        state_dict, weights = pretrained(entry)
        assign(module, state_dict, weights)
    labels = entry.labels if classes == entry.num_classes else ()
    return Found(
        entry.name,
        module,
        weights,
        not options.pretrained,
        (shape,),
        entry.preprocess_at(size),
        labels,
    )


def _zoo_input(entry: ZooEntry, options: Options) -> tuple[int, tuple[int, ...]]:
    """The input size that a zoo model is made for, and its input shape."""
    if options.input_shapes is None:
        size = entry.input_size if options.input_size is None else options.input_size
        width = size if entry.input_shape[2] == entry.input_shape[3] else entry.input_shape[3]
        return size, (1, entry.input_shape[1], size, width)
    if options.input_size is not None:
        raise InputError(
            f"input size {options.input_size} and input shape {options.input_shapes} are both given; give one"
        )
    if len(options.input_shapes) != 1 or len(options.input_shapes[0]) != 4:
        wanted = ",".join(map(str, entry.input_shape))
        raise ModelError(
            f"{entry.name!r} takes one input like {wanted}, not {options.input_shapes}; give one such shape"
        )
    shape = options.input_shapes[0]
    if shape[1] != entry.input_shape[1]:
        raise ModelError(
            f"{entry.name!r} takes {entry.input_shape[1]} channels, not {shape[1]}; "
            f"give --input-shape 1,{entry.input_shape[1]},…"
        )
    image = entry.input_shape[2] == entry.input_shape[3]
    return (min(shape[2:]) if image else shape[2]), shape


def from_archive(path: Path) -> Found:
    """A model that torch.export.save wrote. A dynamic batch becomes 1.

    Raises ModelError where the file is no such archive, would have to be unpickled, or was exported in training mode.
    """
    program = _read_archive(path)
    module = program.module()
    training = [n for n in program.graph.nodes if n.op == "call_function" and _trains(n)]
    if training:
        raise ModelError(
            f"{str(path)!r} was exported in training mode ({training[0].target}); export model.eval() instead"
        )
    for part in module.modules():
        part.training = False  # an exported module has no eval(); its graph was just seen to be in that mode
    return Found(path.stem, module, describe(path), input_shapes=_archive_shapes(program, path))


def _read_archive(path: Path) -> ExportedProgram:
    import torch

    if not path.is_file():
        raise ModelError(f"cannot load a model from {str(path)!r}: no such file; give a file of torch.export.save")
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{str(path)!r} is not a torch.export archive; make one with torch.export.save(program, path)")
    with zipfile.ZipFile(path) as archive:
        if any("custom_obj" in Path(name).name for name in archive.namelist()):
            raise ModelError(f"{str(path)!r} holds pickled Python objects, which are not loaded; export without them")
    try:
        with _weights_only():
            return torch.export.load(path)
    except Exception as e:  # torch raises whatever its deserializer meets, AssertionError and KeyError among them
        raise ModelError(f"cannot load the torch.export archive {str(path)!r} ({one_line(e)}); export it again") from e


@contextlib.contextmanager
def _weights_only() -> Iterator[None]:
    """Keep torch.load from unpickling inside: torch.export.load asks it to, and this variable overrides that."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _trains(node: Any) -> bool:
    """Whether an exported operator is in training mode: its argument named `train` or `training` is true."""
    schema = getattr(node.target, "_schema", None)
    for i, argument in enumerate(schema.arguments if schema else ()):
        if argument.name in ("train", "training"):
            return bool(node.args[i] if i < len(node.args) else node.kwargs.get(argument.name, False))
    return False


def _archive_shapes(program: ExportedProgram, path: Path) -> Shapes:
    """The inputs' shapes with a dynamic batch as 1; none where another dimension is dynamic."""
    import torch

    inputs = set(program.graph_signature.user_inputs)
    values = [n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder" and n.name in inputs]
    if any(not isinstance(value, torch.Tensor) for value in values):
        raise ModelError(f"{str(path)!r} takes inputs that are no tensors; export a model whose inputs are all tensors")
    shapes = [tuple(value.shape) for value in values if isinstance(value, torch.Tensor)]
    shapes = [(1, *shape[1:]) if shape and not isinstance(shape[0], int) else shape for shape in shapes]
    static = all(isinstance(dim, int) for shape in shapes for dim in shape)
    return tuple(tuple(map(int, shape)) for shape in shapes) if static else ()


def from_torchvision(name: str, options: Options) -> Found:
    """A classifier of torchvision, with the preprocessing of its default weights. Raises ModelError, ToolError."""
    from edgeds.models.blocks import seeded

    models = _library("torchvision.models", "torchvision")
    _check_name("torchvision", name, models.list_models())
    with seeded(options.seed), _failing("torchvision", name):
        default = models.get_model_weights(name).DEFAULT
        parameters = inspect.signature(models.get_model_builder(name)).parameters
        # a detector or segmenter without weights would download those of its backbone
        extra = {"weights_backbone": None} if "weights_backbone" in parameters else {}
        module = models.get_model(name, weights=default if options.pretrained else None, **extra)
    transforms = default.transforms()
    labels = tuple(default.meta.get("categories", ())) if options.pretrained else ()
    weights = f"pretrained: {default.url.rpartition('/')[2]}" if options.pretrained else f"seeded ({options.seed})"
    if not hasattr(transforms, "crop_size"):  # a detector or the like: no fixed input size
        return Found(name, module, weights, not options.pretrained, labels=labels)
    size = int(transforms.crop_size[0])
    resize = _resize(int(transforms.resize_size[0]), size, options)
    interpolation = _interpolation(name, transforms.interpolation.value)
    preprocess = Preprocess(resize, tuple(transforms.mean), tuple(transforms.std), interpolation)
    return Found(name, module, weights, not options.pretrained, ((1, 3, size, size),), preprocess, labels)


def from_timm(name: str, options: Options) -> Found:
    """A model of timm, with the preprocessing of its `pretrained_cfg`. Raises ModelError, ToolError."""
    from edgeds.models.blocks import seeded

    timm = _library("timm", "timm")
    _check_name("timm", name.partition(".")[0], timm.list_models())
    with seeded(options.seed), _failing("timm", name):
        module = timm.create_model(name, pretrained=options.pretrained)
    config = module.pretrained_cfg
    shape = tuple(config["input_size"])
    # the short side that leaves crop_pct of it after the crop, as timm's create_transform rounds it
    resize = _resize(math.floor(shape[-1] / config["crop_pct"]), shape[-1], options)
    if config.get("crop_mode") == "squash" and config["crop_pct"] >= 1:
        resize = 0
    interpolation = _interpolation(name, config["interpolation"])
    preprocess = Preprocess(resize, tuple(config["mean"]), tuple(config["std"]), interpolation)
    published = config.get("hf_hub_id") or str(config.get("url") or name).rpartition("/")[2]
    weights = f"pretrained: {published}" if options.pretrained else f"seeded ({options.seed})"
    return Found(name, module, weights, not options.pretrained, ((1, *shape),), preprocess)


def _resize(resize: int, size: int, options: Options) -> int:
    """The published resize for inputs of `size` pixels; where the user gives another input shape, it keeps its ratio to that."""
    shapes = options.input_shapes or ()
    if len(shapes) != 1 or len(shapes[0]) != 4:
        return resize
    return round(resize * max(shapes[0][2:]) / size)


def _library(module: str, package: str) -> ModuleType:
    if importlib.util.find_spec(package) is None:
        raise ToolError(
            f"models of {package} need the package {package}, which is not installed; pip install {package}"
        )
    try:
        return importlib.import_module(module)
    except Exception as e:  # a build for another torch fails with whatever its extension raises
        raise ToolError(
            f"the installed {package} does not import ({one_line(e)}); install the one built for this torch"
        ) from e


def _check_name(library: str, name: str, known: Iterable[str]) -> None:
    known = list(known)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3) or sorted(known)[:5]
        raise ModelError(f"{library} has no model {name!r}; closest are {', '.join(close)}")


def _interpolation(name: str, value: str) -> Interpolation:
    if value not in list(Interpolation):
        choices = ", ".join(Interpolation)
        raise ModelError(f"{name!r} is preprocessed with {value!r} interpolation; only {choices} are known")
    return Interpolation(value)


@contextlib.contextmanager
def _failing(library: str, name: str) -> Iterator[None]:
    """Turn what a library raises while it makes a model, or downloads its weights, into one line."""
    try:
        yield
    except OSError as e:
        raise ToolError(f"{library} cannot fetch the weights of {name!r} ({one_line(e)}); give --weights FILE") from e
    except Exception as e:
        raise ModelError(f"{library} cannot make {name!r} ({one_line(e)}); try another model") from e
