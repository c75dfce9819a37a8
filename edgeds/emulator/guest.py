"""Starts a program in the image on an emulated device, and counts what its marked region executes.

Counts repeat from run to run: QEMU itself chooses the guest's addresses, and its environment, its random numbers and its one core are
fixed. The emulator's own time says nothing about the device.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeds import folders
from edgeds.devices.profile import DeviceProfile
from edgeds.emulator import counts, prefix
from edgeds.emulator.image import PYTHON, Image
from edgeds.process import Finished, run_process
from edgeds.trace import Trace

TIME_LIMIT_S = 1800.0

# Everything that a guest sees of an environment: pools of one thread, the same order of sets in every run.
_ENVIRONMENT = {
    "PATH": "/usr/bin",
    "HOME": "/",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONHOME": "/usr",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}

# QEMU would write one for a guest that crashes, into the current folder.
_NO_CORE_FILE = ("sh", "-c", 'ulimit -c 0; exec "$@"', "sh")


@dataclass(frozen=True, slots=True)
class Counted:
    """A program that has ended, and what its marked region executed."""

    finished: Finished
    trace: Trace


def python(image: Image, *arguments: str, write_bytecode: bool = False) -> list[str]:
    """The command of the guest's Python. It never writes beside its modules: where the guest has no file, it sees the host's folders."""
    flags = ["-s", "-X", f"pycache_prefix={image.path / 'bytecode'}", *(() if write_bytecode else ("-B",))]
    return [str(image.guest / PYTHON), *flags, *arguments]


def start(
    image: Image, device: DeviceProfile, command: Sequence[str], stdin: str = "", timeout_s: float = TIME_LIMIT_S
) -> Finished:
    """Runs an ARM64 program, `command[0]` by its path on the host, for at most `timeout_s`, and counts nothing."""
    with folders.temporary("edgeds-guest-") as folder:
        return _run(image, device, folder, [], command, stdin, timeout_s)


def count(
    image: Image,
    device: DeviceProfile,
    command: Sequence[str],
    stdin: str = "",
    timeout_s: float = TIME_LIMIT_S,
    caches: bool = True,
    subject: str = "",
    slices: str = "",
) -> Counted:
    """Like `start`, with the trace of the program's marked region; `caches` says whether the device's are simulated.

    `slices` divides the region as plugin.c says: `clock`, or the place of a function. The trace is empty where the program marked nothing. ToolError, which calls the program `subject`, where a crash or its time limit
    has ended it, for it then tells nothing.
    """
    with folders.temporary("edgeds-guest-") as folder:
        output = folder / "counts"
        arguments = [f"out={output}", *(_caches(device) if caches else ()), *([f"slices={slices}"] if slices else ())]
        plugin = ["-plugin", ",".join(str(a).replace(",", ",,") for a in (image.plugin, *arguments))]
        finished = _run(image, device, folder, plugin, command, stdin, timeout_s)
        try:
            return Counted(finished, counts.read(output))
        except FileNotFoundError as error:
            raise finished.failure(subject or f"{Path(command[0]).name} on {device.name}") from error


def seen_of(device: DeviceProfile) -> str:
    """All of `device` that a program and its counts depend on, as JSON: nothing else of it changes a trace."""
    return json.dumps([device.core.qemu_cpu, prefix.files(device), _caches(device)])


def _run(
    image: Image,
    device: DeviceProfile,
    folder: Path,
    plugin: Sequence[str],
    command: Sequence[str],
    stdin: str,
    timeout_s: float,
) -> Finished:
    prefix.write(device, image.guest, folder / "prefix")
    environment = ["env", "-i", *(f"{name}={value}" for name, value in _ENVIRONMENT.items())]
    qemu = [*image.qemu, "-seed", "1", "-L", str(folder / "prefix"), "-cpu", device.core.qemu_cpu, *plugin]
    finished = run_process([*_NO_CORE_FILE, *environment, *qemu, *command], stdin, timeout_s=timeout_s)
    return replace(finished, command=tuple(command))


def _caches(device: DeviceProfile) -> list[str]:
    levels = {"l1": device.l1d, "l2": device.l2, "l3": device.l3}
    sizes = [f"{name}={cache.size_bytes}:{cache.ways}" for name, cache in levels.items() if cache]
    return [*sizes, f"tlb={device.core.l2_tlb_entries}", f"page={device.pages.size_bytes}"]
