"""Makes the image: downloads, unpacks, builds, and starts each runtime once."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from edgeds import devices, folders
from edgeds.emulator import build, debian, guest, mirror, wheels
from edgeds.emulator.image import EXECUTORCH, PACKAGES, SCHEMA_VERSION, SOURCE, WHEEL, Image, Part, find, place, sources
from edgeds.errors import ToolError
from edgeds.progress import Progress, Silent, step

_NEEDED_BYTES = 1_000_000_000  # while it is made; the compiler is the largest part
# What no run needs of Debian's packages: texts, tables of character sets.
_UNNEEDED = ("usr/share", "usr/lib/aarch64-linux-gnu/gconv", "usr/lib/aarch64-linux-gnu/audit", "usr/lib/binfmt.d")
_IMPORTS = ("onnxruntime", "ai_edge_litert.interpreter", "tflite_runtime.interpreter")
_AGENT_IMPORTS = "import json, importlib.metadata, re, numpy"


def ensure(progress: Progress | None = None, mirror_url: str | None = None) -> Image:
    """The image, made now if it is not there, from the Debian archive at `mirror_url` or the one that the host uses.

    Safe with several processes at once; what an interrupted one downloaded is used. ToolError where the host cannot, with the next step.
    """
    if image := find():
        return image
    from filelock import FileLock

    home = place().parent
    with _in_one_line(home):
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / "setup.lock"):
            if image := find():  # another process has made it meanwhile
                return image
            _make(place(), mirror_url, progress or Silent())
    image = find()
    if image is None:
        raise ToolError(f"the emulator's image vanished from {folders.shown(home)}; run: edgeds devices setup")
    return image


@contextmanager
def _in_one_line(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ToolError(
            f"cannot make the emulator's image in {folders.shown(home)}: {folders.why(error)}; "
            f"free {_NEEDED_BYTES / 1e9:.0f} GB there, or set EDGEDS_CACHE to another folder"
        ) from error


def _make(target: Path, mirror_url: str | None, progress: Progress) -> None:
    if platform.machine() != "x86_64":
        raise ToolError(f"emulated devices need a host with an x86_64 processor, and this one is {platform.machine()}")
    if (free := shutil.disk_usage(target.parent).free) < _NEEDED_BYTES:
        raise OSError(errno.ENOSPC, f"only {free / 1e9:.1f} GB are free")
    folders.clear_abandoned(target.parent)
    downloads = target.parent / "downloads"
    archive = debian.Archive(downloads, mirror_url or mirror.find())
    with step(progress, "reading Debian's package lists"):
        archive.update()
    with step(progress, "downloading QEMU and an ARM64 Debian"):
        packages = archive.download()
    with step(progress, "downloading the runtimes for ARM64"):
        found = wheels.download(downloads / "wheels")
    with folders.temporary_beside(target) as temporary, folders.temporary_beside(downloads / "work") as work:
        with step(progress, "unpacking"):
            _unpack(packages, found, temporary, work)
        with step(progress, "building the ExecuTorch runner and the counting plugin"):
            _build(temporary, work)
        _write_manifest(temporary, packages)
        with step(progress, "starting each runtime once"):
            _start_runtimes(temporary)
        folders.remove(target)  # what is there is no image, or it would have been found
        folders.rename_new(temporary, target)
    shutil.rmtree(downloads)
    remove_others(target)


def _unpack(packages: Sequence[debian.Package], found: dict[str, Path], image: Path, work: Path) -> None:
    guest_root, host = image / "guest", image / "host"
    debian.unpack((p.path for p in packages if p.architecture == "amd64"), work / "amd64")
    debian.unpack((p.path for p in packages if p.architecture != "amd64"), guest_root)
    host.mkdir()
    for library in _libraries(work / "amd64"):
        shutil.move(library, host / library.name)
    shutil.move(work / "amd64/usr/bin/qemu-aarch64", host / "qemu-aarch64")
    for name in _UNNEEDED:
        shutil.rmtree(guest_root / name, ignore_errors=True)
    (guest_root / "usr/lib/python3/dist-packages").mkdir(parents=True)  # else the guest would see the host's
    for wheel in wheels.pinned():
        is_built_with = wheel.name in ("executorch", wheels.COMPILER)
        wheels.unpack(found[wheel.name], work if is_built_with else guest_root / PACKAGES, wheel.without)


def _libraries(root: Path) -> Iterable[Path]:
    for folder in ("lib", "usr/lib"):
        yield from (root / folder / "x86_64-linux-gnu").glob("*.so*")


def _build(image: Path, work: Path) -> None:
    compiler, executorch, runtime = work / "ziglang" / "zig", work / "executorch", image / "guest" / EXECUTORCH
    runtime.mkdir(parents=True)
    build.plugin(compiler, image / "host" / "plugin.so")
    cpp_library = image / "guest/usr/lib/aarch64-linux-gnu/libstdc++.so.6"
    build.executorch_runner(compiler, executorch, cpp_library, runtime / "executorch_runner")
    for name in build.EXECUTORCH_LIBRARIES:
        shutil.copy(executorch / "lib" / name, runtime / name)


def _write_manifest(image: Path, packages: Iterable[debian.Package]) -> None:
    parts = [Part(p.name, p.version, p.architecture, p.sha256) for p in packages]
    parts += [Part(w.name, w.version, WHEEL, w.sha256) for w in wheels.pinned()]
    parts += [Part(name, "", SOURCE, sha256(source).hexdigest()) for name, source in sources().items()]
    content = {"schema_version": SCHEMA_VERSION, "parts": [asdict(part) for part in parts]}
    (image / "manifest.json").write_text(json.dumps(content, indent=1) + "\n")


def _start_runtimes(path: Path) -> None:
    """Shows that they start, and has Python compile all that they import."""
    image = Image(path, "", ())
    device = devices.load(devices.names()[0])
    for module in _IMPORTS:
        command = guest.python(image, "-c", f"{_AGENT_IMPORTS}, {module}", write_bytecode=True)
        done = guest.start(image, device, command)
        if done.returncode != 0:
            raise done.failure(f"the import of {module} in the emulator")


def remove_others(target: Path) -> None:
    """Removes the images of other versions of edgeds, beside the one at `target`, that nobody uses right now."""
    for other in target.parent.glob("image-*"):
        if other != target and (descriptor := folders.claim(other)) is not None:
            folders.remove(other)
            os.close(descriptor)
