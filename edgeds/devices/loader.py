"""Reads the TOML files of devices and cores. A key that is not known, or one that is missing, is refused."""

from __future__ import annotations

import difflib
import functools
import tomllib
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from edgeds.devices.pipeline import Pipeline
from edgeds.devices.profile import DeviceProfile
from edgeds.errors import InputError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_FOLDER = files("edgeds.devices")
_CORES = _FOLDER / "cores"


def names() -> tuple[str, ...]:
    """The devices whose latency can be estimated."""
    return _stems(_FOLDER)


def load(name: str) -> DeviceProfile:
    """The device called `name`. Raises InputError where there is none, or its core has no pipeline; it lists the choices."""
    if name not in names():
        raise _unknown(name)
    return decode((_FOLDER / f"{name}.toml").read_text(encoding="utf-8"), name)


def decode(text: str, name: str) -> DeviceProfile:
    """The device that `text`, TOML, describes. Raises InputError with the first thing that is wrong with it."""
    try:
        raw = tomllib.loads(text)
        if (core := raw.get("core")) not in cores():
            raise InputError(f"the device {name!r} has the core {core!r}, which has no pipeline; {_those_that_have()}")
        raw["core"] = {**_core_file(str(core)), "name": core}
        return _adapter().validate_python([{**raw, "name": name}])[0]
    except ValueError as error:
        raise InputError(f"the device {name!r}: {_first_problem(error)}") from error


@functools.cache
def load_pipeline(core: str) -> Pipeline:
    """The pipeline of the core called `core`, like `cortex-a72`. Raises InputError for one that has none, with those that have."""
    if core not in cores():
        raise InputError(f"the core {core!r} has no pipeline; {_those_that_have()}")
    return decode_pipeline((_CORES / f"{core}.toml").read_text(encoding="utf-8"), core)


def decode_pipeline(text: str, core: str) -> Pipeline:
    """The pipeline that `text`, TOML, describes. Raises InputError with the first thing that is wrong with it."""
    try:
        raw = tomllib.loads(text)
        raw.pop("id")
        return _pipeline_adapter().validate_python([{**raw, "name": core}])[0]
    except (ValueError, KeyError) as error:
        raise InputError(f"the core {core!r}: {_first_problem(error)}") from error


def cores() -> tuple[str, ...]:
    """The cores that have a pipeline."""
    return _stems(_CORES)


@functools.cache
def unestimable() -> dict[str, str]:
    """Devices that can be exported for but not estimated, by name, and the core of each."""
    raw = tomllib.loads((_FOLDER / "unestimable" / "devices.toml").read_text(encoding="utf-8"))
    return {name: device["core"] for name, device in raw.items()}


def _stems(folder: Traversable) -> tuple[str, ...]:
    return tuple(sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml")))


@functools.cache
def _core_file(name: str) -> dict[str, Any]:
    raw = tomllib.loads((_CORES / f"{name}.toml").read_text(encoding="utf-8"))
    return dict(raw["id"])


def _unknown(name: str) -> InputError:
    if core := unestimable().get(name):
        return InputError(
            f"{name} can be exported for, but not estimated: its {core} has no pipeline; {_those_that_have()}; "
            f"choose a device from {', '.join(names())}"
        )
    close = difflib.get_close_matches(name, (*names(), *unestimable()), n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return InputError(f"unknown device {name!r}; {hint}choose from {', '.join(names())}")


def _those_that_have() -> str:
    return f"those that have one are {', '.join(cores())}"


@functools.cache
def _adapter() -> TypeAdapter[tuple[DeviceProfile]]:
    from pydantic import ConfigDict, TypeAdapter

    # pydantic takes a config for plain dataclasses only where they stand inside another type: hence the tuple
    return TypeAdapter(tuple[DeviceProfile], config=ConfigDict(extra="forbid"))


@functools.cache
def _pipeline_adapter() -> TypeAdapter[tuple[Pipeline]]:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(tuple[Pipeline], config=ConfigDict(extra="forbid"))


def _first_problem(error: Exception) -> str:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in problem["loc"][1:])
    return f"{place}: {problem['msg'][0].lower()}{problem['msg'][1:]}"
