"""The isolated environment of tflite-runtime 2.14, built on demand with pip in the cache folder.

The last tflite-runtime was built for numpy 1: beside numpy 2 it imports and then dies, so it gets an interpreter of its own.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeds.errors import ToolError
from edgeds.process import run_process

REQUIREMENTS = ("tflite-runtime==2.14.0", "numpy==1.26.4")
VERSIONS = (
    (3, 11),
    (3, 10),
    (3, 9),
)  # of Python, that both of them have wheels for: pypi.org/project/tflite-runtime/2.14.0

_PROBE = "import ensurepip, sys, venv; print(*sys.version_info[:2])"
_IMPORT = "import numpy, tflite_runtime.interpreter"


def interpreter(home: Path | None = None) -> Path:
    """Path of a Python that has tflite-runtime 2.14; builds its environment the first time (about 10 s).

    `home` is the folder that environments are kept in, by default one in the cache. Safe with several processes at once;
    an interrupted build is built again. ToolError where no Python has a wheel, or pip fails.
    """
    from filelock import FileLock

    home = home or _cached_home()
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "tflite-runtime.lock"):
        return find(home) or _build(home)


def find(home: Path | None = None) -> Path | None:
    """The Python of an environment that is whole already, None if there is none."""
    ready = (path for path in sorted((home or _cached_home()).glob("tflite-runtime-*")) if _is_complete(path))
    return next((_python_of(path) for path in ready), None)


def find_base(candidates: Sequence[str] | None = None, this: tuple[int, int] = sys.version_info[:2]) -> tuple[str, str]:
    """The Python to build with, as (program, version like "3.11"): this one, or the newest on PATH that there is a wheel for.

    `candidates` are tried in order; `this` is the version of the running Python. ToolError where none will do.
    """
    if candidates is None:
        candidates = (sys.executable, *(f"python{major}.{minor}" for major, minor in VERSIONS))
    for program in candidates:
        version = _probe(program)
        if version in VERSIONS:
            return program, f"{version[0]}.{version[1]}"
    name = f"{this[0]}.{this[1]}"
    if this in VERSIONS:
        raise ToolError(
            f"Python {name} lacks venv or ensurepip, which tflite-runtime is installed with; "
            f"install python{name}-venv or read the LiteRT row"
        )
    raise ToolError(f"no tflite-runtime wheel exists for Python {name}; install python3.11 or read the LiteRT row")


def _cached_home() -> Path:
    from edgeds.cache import cache_dir

    return cache_dir() / ".environments"  # the dot: not an entry that the cache prunes, for it may be running


def _probe(program: str) -> tuple[int, int] | None:
    """Version of a Python that can build an environment, else None. Only running it tells: a launcher may stand for nothing."""
    found = shutil.which(program)
    if found is None:
        return None
    done = run_process([found, "-I", "-c", _PROBE])
    parts = done.stdout.split()
    return (int(parts[0]), int(parts[1])) if done.returncode == 0 and len(parts) == 2 else None


def _python_of(environment: Path) -> Path:
    return environment / "bin" / "python"


def _is_complete(environment: Path) -> bool:
    """True if the build came to its end, of what is wanted today, and its base Python still exists (bin/python is a link)."""
    marker = environment / ".complete"
    if not marker.is_file() or not _python_of(environment).exists():
        return False
    return marker.read_text("utf-8") == json.dumps(REQUIREMENTS)


def _build(home: Path) -> Path:
    """Builds in place, for an environment cannot be moved; a marker, written last, says that it is whole."""
    base, version = find_base()
    environment = home / f"tflite-runtime-2.14.0-python{version}"
    shutil.rmtree(environment, ignore_errors=True)
    python = str(_python_of(environment))
    pip = [python, "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check", *REQUIREMENTS]
    for what, command in (
        ("making the environment of tflite-runtime", [base, "-I", "-m", "venv", str(environment)]),
        ("installing tflite-runtime with pip", pip),
        ("importing tflite-runtime", [python, "-I", "-c", _IMPORT]),
    ):
        done = run_process(command)
        if done.returncode != 0:
            raise done.failure(what)
    (environment / ".complete").write_text(json.dumps(REQUIREMENTS), "utf-8")
    return Path(python)
