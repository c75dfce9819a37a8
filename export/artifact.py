"""The record of a file that was just written, and the check for the library that writes it."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from edgeds.errors import ToolError
from edgeds.spec import Artifact, Compute, Format, Layout, OperatorCount, Precision


def require(*packages: str) -> None:
    """Raises ToolError naming the pip line of the first package that is not installed."""
    for package in packages:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise ToolError(f"package {package!r} is not installed; run: pip install edgeds") from None


def made(
    format: Format,
    precision: Precision,
    path: Path,
    layout: Layout,
    operators: tuple[OperatorCount, ...],
    packages: tuple[str, ...],
    delegates: int = 0,
    outside: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Artifact:
    """The Artifact of the file at `path`."""
    content = path.read_bytes()
    return Artifact(
        format=format,
        precision=precision,
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        layout=layout,
        operators=operators,
        delegates=delegates,
        outside=outside,
        notes=notes,
        toolchain=tuple(f"{package} {importlib.metadata.version(package)}" for package in packages),
    )


def counted(operators: Iterable[tuple[str, Compute]]) -> tuple[OperatorCount, ...]:
    """Counts equal operators, sorted by name."""
    counts = Counter(operators)
    return tuple(OperatorCount(name, compute, count) for (name, compute), count in sorted(counts.items()))
