"""The image: everything that an emulated device runs, in one folder of the cache, made once.

    CACHE/.emulator/image-KEY/manifest.json   versions and sha256 of all that it was made from; its sha256 is the image's digest
    CACHE/.emulator/image-KEY/host/           QEMU with its libraries and dynamic linker, and the counting plugin
    CACHE/.emulator/image-KEY/guest/          the root folder of a small ARM64 Debian with Python and the runtimes
    CACHE/.emulator/image-KEY/bytecode/       what Python compiled of them, so that no run does it again
    CACHE/.emulator/downloads/                packages and wheels of a set-up that was interrupted

KEY is what the image is made from, as this version of edgeds asks for it. The dot keeps the folder from what the cache prunes.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

from edgeds import folders
from edgeds.cache import cache_dir, digest
from edgeds.emulator import build, debian, wheels

# What manifest.json was: 1 = edgeds 0.1.
SCHEMA_VERSION = 1
# What stands for an architecture in a Part that is no Debian package.
WHEEL, SOURCE = "wheel", "source"
# The guest's folders, relative to its root.
PYTHON = "usr/bin/python3.11"
PACKAGES = "usr/local/lib/python3.11/dist-packages"
EXECUTORCH = "usr/local/lib/executorch"


@dataclass(frozen=True, slots=True)
class Part:
    """A Debian package, a wheel, or a program's source that an image was made from."""

    name: str
    version: str
    architecture: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is whole. `digest` is in hex and changes with every byte that it was made from."""

    path: Path
    digest: str
    parts: tuple[Part, ...]

    @property
    def guest(self) -> Path:
        """The guest's root folder."""
        return self.path / "guest"

    @property
    def plugin(self) -> Path:
        """The counting plugin."""
        return self.path / "host" / "plugin.so"

    @property
    def qemu(self) -> tuple[str, ...]:
        """How QEMU is started: through its own dynamic linker, so that the host's libraries do not matter."""
        host = self.path / "host"
        return (
            str(host / "ld-linux-x86-64.so.2"),
            "--inhibit-cache",
            "--library-path",
            str(host),
            str(host / "qemu-aarch64"),
        )

    def size_bytes(self) -> int:
        """What it takes on disk."""
        return sum(item.stat(follow_symlinks=False).st_size for item in folders.walk(self.path).values())


def find() -> Image | None:
    """The image, if it is there; it is then in use until this process ends. ToolError where the cache cannot be used."""
    return opened(place())


def opened(path: Path) -> Image | None:
    """The image at `path`, marked as in use so that no other version's set-up removes it; None if there is none."""
    try:
        descriptor = folders.hold(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        content = (path / "manifest.json").read_bytes()
        parts = tuple(Part(**part) for part in json.loads(content)["parts"])
    except (FileNotFoundError, ValueError, TypeError, KeyError):  # damaged: a set-up makes it anew
        os.close(descriptor)
        return None
    with _holding:
        before, _held[path] = _held.get(path), descriptor
    if before is not None:
        os.close(before)  # after the new hold, so that there is no moment without one
    return Image(path, hashlib.sha256(content).hexdigest(), parts)


def place() -> Path:
    """Where the image of this version of edgeds is, or will be."""
    recipe = [
        SCHEMA_VERSION,
        debian.SUITE,
        debian.HOST_PACKAGES,
        debian.GUEST_PACKAGES,
        [asdict(w) for w in wheels.pinned()],
    ]
    key = digest(json.dumps(recipe), *sources().values())
    return cache_dir() / ".emulator" / f"image-{key[:16]}"


def sources() -> dict[str, bytes]:
    """The programs that are built for it, as source."""
    return {name: files("edgeds.emulator").joinpath(name).read_bytes() for name in build.SOURCES}


_holding = threading.Lock()
_held: dict[Path, int] = {}
