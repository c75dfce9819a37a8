"""The options that several commands share, in groups, and how their text becomes values.

A group is a dataclass whose fields are options; `expand` lets a command take groups as parameters.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from edgeds.errors import InputError
from edgeds.recipe import RECIPES, Recipe
from edgeds.spec import ColorOrder, DriftLimits, Interpolation, Model, Preprocess, TfliteIo

Choice = TypeVar("Choice", bound=StrEnum)
Value = TypeVar("Value")
DEFAULTS = DriftLimits()


def _in(panel: str, text: str, metavar: str | None = None, *names: str) -> Any:
    return typer.Option(*names, help=text, metavar=metavar, rich_help_panel=panel, show_default=False)


def _model(text: str, metavar: str | None = None, *names: str) -> Any:
    return _in("The model", text, metavar, *names)


def _data(text: str, metavar: str | None = None, *names: str) -> Any:
    return _in("The data", text, metavar, *names)


def _limit(text: str, metavar: str | None = None, *names: str) -> Any:
    return _in("The limits", text, metavar, *names)


ModelRef = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A zoo name (see `edgeds models`), path/to/file.py:factory, package.module:factory, model.pt2, "
        "torchvision:NAME or timm:NAME.",
    ),
]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The folder that `edgeds export` wrote.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON to stdout.")]
RecipeName = Annotated[
    str | None,
    typer.Option(
        help=f"How to quantize: best, the default, in one or two minutes; fast, in seconds; or in full: best is {RECIPES['best']}.",
        metavar="NAME",
        show_default=False,
    ),
]
KeepFloat = Annotated[
    str | None,
    typer.Option(
        help="Layers or modules that stay in float, with commas between; or how many of the most costly, "
        "see `edgeds sensitivity` (a layer called 3 is `3,`).",
        metavar="N|LIST",
        show_default=False,
    ),
]
TimeLimit = Annotated[
    float,
    typer.Option("--time-limit", help="Seconds that one program may run in the emulator.", min=1.0, metavar="S"),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Do everything anew, and keep nothing of it.")]


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which weights and shapes the model has."""

    weights: Annotated[str | None, _model("A .pt, .pth or .safetensors file, or `pretrained`.", "FILE")] = None
    input_shape: Annotated[
        list[str] | None, _model("Shape of an input, like 1,3,224,224; repeat it for each input.", "N,C,H,W")
    ] = None
    width: Annotated[float | None, _model("Width multiplier of a zoo model.")] = None
    num_classes: Annotated[int | None, _model("Number of classes of a zoo model.")] = None
    input_size: Annotated[int | None, _model("Side of a zoo model's input in pixels (audio: frames).")] = None
    seed: Annotated[int, _model("Makes all random weights; default 0.")] = 0
    labels: Annotated[Path | None, _model("A text file with a class name a line; goes into the bundle.", "FILE")] = None


@dataclass(frozen=True, slots=True)
class DataOptions:
    """What to calibrate and validate on, and how images become inputs."""

    calibration: Annotated[
        str | None,
        _data(
            "A folder of images, a .npz or .npy file of preprocessed inputs, or `random`. "
            "Without it: a few photos that scikit-image ships.",
            "PATH",
        ),
    ] = None
    validation: Annotated[
        str | None,
        _data("Likewise, to measure drift on. Without it a quarter of the calibration samples is held out.", "PATH"),
    ] = None
    mean: Annotated[str | None, _data("Mean a channel, for pixels in 0..1: 0.485,0.456,0.406.", "R,G,B")] = None
    std: Annotated[str | None, _data("Standard deviation a channel, likewise.", "R,G,B")] = None
    resize: Annotated[int | None, _data("Short side in pixels before the centre crop; 0 squeezes the image.")] = None
    interpolation: Annotated[str | None, _data(f"{', '.join(Interpolation)}.", "NAME")] = None
    color_order: Annotated[str | None, _data(f"{', '.join(ColorOrder)}.", "NAME")] = None


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """What validation accepts."""

    min_sqnr: Annotated[
        float | None,
        _limit(f"Least SQNR of int8 against the float model, in dB; default {DEFAULTS.min_int8_sqnr_db:g}.", "DB"),
    ] = None
    min_agreement: Annotated[
        float | None,
        _limit(f"Least share of equal top-1 answers; default {DEFAULTS.min_int8_top1_agreement:g}.", "0..1"),
    ] = None
    max_spread: Annotated[
        float | None,
        _limit(f"How far the runtimes' SQNR may lie apart, in dB; default {DEFAULTS.max_runtime_spread_db:g}.", "DB"),
    ] = None


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Where the result goes."""

    out: Annotated[
        Path | None, typer.Option(help="The folder to write; default: the model's name and -edgeds.", metavar="DIR")
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle.")] = False


GROUPS = (ModelOptions, DataOptions, LimitOptions, OutputOptions)


def expand(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes each field of its groups as an option of its own; Typer reads the signature made here."""
    signature = inspect.signature(command, eval_str=True)
    groups = {name: p.annotation for name, p in signature.parameters.items() if p.annotation in GROUPS}

    @functools.wraps(command)
    def expanded(**values: Any) -> None:
        for name, group in groups.items():
            fields = [field.name for field in dataclasses.fields(group)]
            values[name] = group(**{field: values.pop(field) for field in fields})
        command(**values)

    parameters = [p for name, parameter in signature.parameters.items() for p in _fields(groups.get(name), parameter)]
    expanded.__signature__ = signature.replace(  # type: ignore[attr-defined]  # functions have it, typeshed does not say so
        parameters=[p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    )
    expanded.__annotations__ = {p.name: p.annotation for p in parameters}
    return expanded


def _fields(group: Any, parameter: inspect.Parameter) -> list[inspect.Parameter]:
    if group is None:
        return [parameter]
    return list(inspect.signature(group, eval_str=True).parameters.values())


def load(ref: str, chosen: ModelOptions) -> Model:
    """The model that the options describe."""
    from edgeds.models import load_model

    return load_model(
        ref,
        weights=chosen.weights,
        input_shapes=_shapes(chosen.input_shape),
        labels=_labels(chosen.labels),
        seed=chosen.seed,
        width=chosen.width,
        num_classes=chosen.num_classes,
        input_size=chosen.input_size,
    )


def names(kind: type[Choice], flag: str, text: str) -> tuple[Choice, ...]:
    """`executorch,onnx` → the members of a closed set. Raises InputError naming the flag, the word and the choices."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in list(kind):
            raise InputError(f"unknown {flag} {word!r}; choose from {', '.join(kind)}")
    if not words:
        raise InputError(f"{flag} is empty; choose from {', '.join(kind)}")
    return tuple(kind(word) for word in dict.fromkeys(words))


def one_name(kind: type[Choice], flag: str, text: str) -> Choice:
    """`names` where one is wanted. Raises InputError for several."""
    found = names(kind, flag, text)
    if len(found) > 1:
        raise InputError(f"{flag} {text!r} names {len(found)}; choose one of {', '.join(kind)}")
    return found[0]


def recipe(name: str | None) -> Recipe | None:
    """The recipe that was asked for, if one was."""
    return None if name is None else Recipe(name)


def kept_float(text: str | None) -> int | tuple[str, ...]:
    """`3` → 3, `features.0,classifier` → the names. Raises InputError where there is none."""
    if text is None or (text.isascii() and text.isdecimal()):
        return int(text or 0)
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise InputError(f"--keep-float {text!r} names no layer; give names with commas between, or a number of layers")
    return names


def given(group: ModelOptions | DataOptions) -> tuple[str, ...]:
    """The flags of a group that were set."""
    fields = dataclasses.fields(group)
    return tuple(f"--{f.name.replace('_', '-')}" for f in fields if getattr(group, f.name) not in (f.default, []))


def check_int8_options(int8: bool, tflite: bool, recipe_name: str | None, io: TfliteIo, keep_float: str | None) -> None:
    """Raises InputError for an option that would change nothing, because no such artifact is made."""
    for flag, value in (("--recipe", recipe_name), ("--keep-float", keep_float)):
        if value is not None and not int8:
            raise InputError(
                f"{flag} {value!r} is for int8, which --precision leaves out; add int8, or leave {flag} out"
            )
    if io is not TfliteIo.INT8 and not (int8 and tflite):
        raise InputError(
            f"--tflite-io {io} is for int8 .tflite files, and none is made; add tflite and int8, or leave it out"
        )


def with_preprocess(model: Model, chosen: DataOptions) -> Model:
    """The model with the preprocessing that the flags change, if they change any."""
    base = model.preprocess
    flags = (chosen.mean, chosen.std, chosen.resize, chosen.interpolation, chosen.color_order)
    if all(flag is None for flag in flags):
        return model
    if base is None:
        if chosen.mean is None or chosen.std is None or chosen.resize is None:
            raise InputError(f"{model.name} brings no preprocessing: give --mean, --std and --resize together")
        base = Preprocess(chosen.resize, _numbers("--mean", chosen.mean), _numbers("--std", chosen.std))
    changed = Preprocess(
        resize=_or(chosen.resize, base.resize),
        mean=base.mean if chosen.mean is None else _numbers("--mean", chosen.mean),
        std=base.std if chosen.std is None else _numbers("--std", chosen.std),
        interpolation=_one(Interpolation, "--interpolation", chosen.interpolation, base.interpolation),
        color_order=_one(ColorOrder, "--color-order", chosen.color_order, base.color_order),
    )
    return dataclasses.replace(model, preprocess=changed)


def limits(chosen: LimitOptions, base: DriftLimits = DEFAULTS) -> DriftLimits:
    """`base` with what the flags change. Raises InputError for a number that no artifact could be judged by."""
    if chosen.min_sqnr is not None and math.isnan(chosen.min_sqnr):
        raise InputError("--min-sqnr nan is no limit; give a number of dB, like 10")
    if chosen.min_agreement is not None and not 0 <= chosen.min_agreement <= 1:
        raise InputError(f"--min-agreement {chosen.min_agreement:g} is no share; give a number from 0 to 1, like 0.75")
    if chosen.max_spread is not None and not chosen.max_spread >= 0:
        raise InputError(f"--max-spread {chosen.max_spread:g} is no distance; give a number of dB from 0 on, like 1")
    return dataclasses.replace(
        base,
        min_int8_sqnr_db=_or(chosen.min_sqnr, base.min_int8_sqnr_db),
        min_int8_top1_agreement=_or(chosen.min_agreement, base.min_int8_top1_agreement),
        max_runtime_spread_db=_or(chosen.max_spread, base.max_runtime_spread_db),
    )


def _shapes(given: list[str] | None) -> tuple[tuple[int, ...], ...] | None:
    if not given:
        return None
    try:
        return tuple(tuple(int(part) for part in text.split(",")) for text in given)
    except ValueError:
        raise InputError(
            f"cannot read --input-shape {' '.join(given)!r}; give whole numbers like 1,3,224,224"
        ) from None


def _labels(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"cannot read --labels {path}: {reason}; give a text file with a class name a line") from error
    labels = tuple(line.strip() for line in lines)
    if "" in labels or not labels:
        where = f"line {labels.index('') + 1} is empty" if labels else "it is empty"
        raise InputError(f"cannot use --labels {path}: {where}; give a class name a line, in the model's order")
    return labels


def _one(kind: type[Choice], flag: str, text: str | None, otherwise: Choice) -> Choice:
    return otherwise if text is None else one_name(kind, flag, text)


def _or(value: Value | None, otherwise: Value) -> Value:
    return otherwise if value is None else value


def _numbers(flag: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"cannot read {flag} {text!r}; give a number a channel, like 0.485,0.456,0.406") from None
