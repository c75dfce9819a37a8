"""Runs ncnn on emulated devices, as `edgeds emulate` runs a script. Each trace is kept in the cache, by all that it depends on.

ncnn comes as the wheel of the release that is next to the published number, for its kernels change from release to release.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import zipfile
from dataclasses import astuple
from pathlib import Path

import numpy as np

from edgeds.cache import Cache, digest
from edgeds.devices.profile import DeviceProfile
from edgeds.emulator import guest
from edgeds.emulator.image import Image
from edgeds.errors import ToolError
from edgeds.process import run_process
from edgeds.trace import Block, Lines, Trace
from tests.bench import ncnn_classic, ncnn_detectors, ncnn_mobile, ncnn_small_detectors

NETS = {**ncnn_mobile.NETS, **ncnn_classic.NETS, **ncnn_detectors.NETS, **ncnn_small_detectors.NETS}
WHEELS = {
    "1.0.20230816": "0b6b70d2d5102acec73faa12c88e5fd66b72b3bd975ff5f83c900adf725036c7",
    "1.0.20240102": "b88c5b982efc26b5a85d0f1fa56f7ade6f3b001ba37f3f928dd10e1eb0c231f5",
}
_SCRIPT = Path(__file__).with_name("ncnn_guest.py")
_TAGS = ["--python-version=3.11", "--implementation=cp", "--abi=cp311", "--platform=manylinux2014_aarch64"]
_TAGS += ["--platform=manylinux_2_17_aarch64"]
_TIME_LIMIT_S = 3600.0  # vision_transformer is a quarter of an hour of emulation


def described(net: str) -> tuple[str, int]:
    """The network's text and the size of its image. KeyError for one that is not described here."""
    writer = NETS[net]()
    return writer.text(), writer.width


def library(version: str, cache: Cache) -> Path:
    """A folder with the ncnn package of that release, for the guest. ToolError where pip cannot get it."""

    def fill(target: Path) -> None:
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(_wheel(version, Path(folder))) as archive:
            archive.extractall(target)

    return cache.get_or_make("ncnn", digest(version, WHEELS[version]), fill)


def _wheel(version: str, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"ncnn=={version} --hash=sha256:{WHEELS[version]}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", *_TAGS, "--dest", str(folder), "--requirement", str(requirements)]
    done = run_process(command)
    if done.returncode != 0:
        raise done.failure(f"downloading ncnn {version} with pip")
    return next(folder.glob("*.whl"))


def trace(text: str, size: int, version: str, device: DeviceProfile, image: Image, cache: Cache) -> Trace:
    """What one run of the network executes on `device`, with one thread."""
    script = _SCRIPT.read_bytes()
    seen = repr((device.core, device.cpuinfo, device.clock, device.pages, device.l1d, device.l2, device.l3))
    key = digest(text, str(size), WHEELS[version], seen, image.digest, script)
    package = library(version, cache)

    def fill(target: Path) -> None:
        _save(_count(text, size, package, device, image), target)

    return _load(cache.get_or_make("ncnn", key, fill))


def _count(text: str, size: int, package: Path, device: DeviceProfile, image: Image) -> Trace:
    with tempfile.TemporaryDirectory() as folder:
        param = Path(folder) / "net.param"
        param.write_text(text)
        script = shutil.copy(_SCRIPT, folder)  # the guest does not see a folder that it has itself, as /usr
        command = guest.python(image, str(script), str(package), str(param), str(size), str(size))
        counted = guest.count(image, device, command, timeout_s=_TIME_LIMIT_S, subject=f"ncnn on {device.name}")
    if counted.finished.returncode != 0 or counted.trace.regions != 1:
        raise (
            counted.finished.failure(f"ncnn on {device.name}") if counted.finished.returncode else ToolError("no marks")
        )
    return counted.trace


def _save(trace: Trace, folder: Path) -> None:
    rows = [(b.address, b.executions, len(b.code), *astuple(b.lines)) for b in trace.blocks]
    np.save(folder / "blocks.npy", np.array(rows, np.int64), allow_pickle=False)
    (folder / "code").write_bytes(b"".join(block.code for block in trace.blocks))
    (folder / "regions.json").write_text(json.dumps(trace.regions))


def _load(folder: Path) -> Trace:
    code, at, blocks = (folder / "code").read_bytes(), 0, []
    for address, executions, size, *lines in np.load(folder / "blocks.npy", allow_pickle=False).tolist():
        blocks.append(Block(address, code[at : at + size], executions, Lines(*lines)))
        at += size
    return Trace(tuple(blocks), json.loads((folder / "regions.json").read_text()))
