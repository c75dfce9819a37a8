"""What is there of all that edgeds starts, and what is missing: nothing is installed or built by looking."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgeds import folders
from edgeds.cache import cache_dir
from edgeds.emulator import debian, image, mirror
from edgeds.errors import ToolError
from edgeds.run import tflite_env

_RUNTIMES = ("executorch", "onnxruntime", "ai-edge-litert")
# Of the image's parts those that people ask for.
_SHOWN = ("qemu-user", "python3.11-minimal", "libc6")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that edgeds uses: its version, what else there is to say, and where it is `missing` what to do."""

    name: str
    version: str = ""
    note: str = ""
    missing: str = ""


def examine() -> tuple[Finding, ...]:
    """All findings, in the order of use: what runs here, then what emulates devices."""
    cache, runtimes = _cache(), [_package(name) for name in _RUNTIMES]
    rest = _without_cache() if cache.missing else (_tflite_runtime(), *_emulator())
    return (cache, *runtimes, *rest)


def _cache() -> Finding:
    try:
        folder = cache_dir()
        used = sum(item.stat(follow_symlinks=False).st_size for item in folders.walk(folder).values())
        free = shutil.disk_usage(folder).free
    except ToolError as error:
        return Finding("cache", missing=str(error))
    except OSError as error:
        return Finding("cache", missing=f"cannot read it: {folders.why(error)}; set EDGEDS_CACHE to a writable folder")
    return Finding("cache", note=f"{folders.shown(folder)}: {used / 1e6:,.0f} MB used, {free / 1e6:,.0f} MB free")


def _without_cache() -> tuple[Finding, ...]:
    """What is kept in the cache cannot be looked for, but what it is made with can."""
    emulator = Finding("emulator", missing="it is kept in the cache; mend that first")
    return (_tflite_to_be_installed(), emulator, *_what_setup_needs())


def _package(name: str) -> Finding:
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, missing=f"install it with: pip install {name}")


def _tflite_runtime() -> Finding:
    if found := tflite_env.find():
        return Finding("tflite-runtime", "2.14.0", f"in {folders.shown(found.parent.parent)}")
    return _tflite_to_be_installed()


def _tflite_to_be_installed() -> Finding:
    try:
        program, python = tflite_env.find_base()
    except ToolError as error:
        return Finding("tflite-runtime", missing=str(error))
    return Finding("tflite-runtime", note=f"will be installed on first use, with Python {python} ({program})")


def _emulator() -> tuple[Finding, ...]:
    found = image.find()
    if found is None:
        return (Finding("emulator", missing="make it with: edgeds devices setup"), *_what_setup_needs())
    size = found.size_bytes() / 1e6
    whole = Finding("emulator", f"image {found.digest[:12]}", f"{folders.shown(found.path)}: {size:,.0f} MB")
    parts = [
        Finding(f"emulator/{part.name}", part.version, part.architecture)
        for part in found.parts
        if part.name in _SHOWN or part.architecture == image.WHEEL
    ]
    return (whole, *parts)


def _what_setup_needs() -> tuple[Finding, ...]:
    tools = [_tool(name) for name in debian.TOOLS]
    try:
        archive = Finding("emulator/Debian archive", note=mirror.find())
    except ToolError as error:
        archive = Finding("emulator/Debian archive", missing=str(error))
    return (*tools, archive)


def _tool(name: str) -> Finding:
    if (found := shutil.which(name)) is None:
        return Finding(f"emulator/{name}", missing="use a Debian or Ubuntu host or container, which have it")
    return Finding(f"emulator/{name}", note=str(Path(found)))
