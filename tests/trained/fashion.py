"""Fashion-MNIST: 60,000 and 10,000 grey images of clothes in 10 classes (arxiv.org/abs/1708.07747, MIT licence), as Debian packs it.

The package is fetched with apt-get, which needs no root for that and installs nothing, and its files are kept in edgeds' cache
(`EDGEDS_CACHE`). They are read from the folder FASHION_MNIST where that is set, so that a machine without Debian or a network can have them.
"""

from __future__ import annotations

import gzip
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeds.cache import Cache, digest
from edgeds.errors import ToolError
from edgeds.folders import shown
from edgeds.process import Finished, last_line, run_process
from edgeds.spec import Array

PACKAGE = "dataset-fashion-mnist"
FOLDER = "FASHION_MNIST"
FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
# of the four files unpacked, as they have been since their first release
DIGEST = "643b3bb68be17c814be841efc0e120143aba36c3178f98de4056e930dfb689d7"
MEAN, STD = 0.286, 0.353  # of all training pixels, where white is 1
QUICKLY = ("-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=30", "-o", "APT::Sandbox::User=root")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """images: float32 [N, 1, 28, 28], normalized. labels: int64 [N]."""

    images: Array
    labels: Array


@dataclass(frozen=True, slots=True, eq=False)
class Fashion:
    """What nets learn from, and the 10,000 images that they never saw."""

    train: Part
    test: Part


def fashion_mnist() -> Fashion:
    """All of it. ToolError, with the next step, where it is neither in the cache nor to be had, or not what it should be."""
    if chosen := os.environ.get(FOLDER):
        return read(Path(chosen))
    with Cache() as store:
        return read(store.get_or_make("fashion-mnist", DIGEST, download))


def read(folder: Path) -> Fashion:
    """The four files of `folder`. ToolError where one is missing or other than it should be."""
    try:
        content = [gzip.decompress((folder / name).read_bytes()) for name in FILES]
    except (OSError, EOFError) as error:
        raise ToolError(f"cannot read Fashion-MNIST in {shown(folder)}: {error}; {_next_step()}") from error
    if digest(*content) != DIGEST:
        raise ToolError(f"the files in {shown(folder)} are not Fashion-MNIST as published; {_next_step()}")
    return Fashion(_part(*content[:2]), _part(*content[2:]))


def _part(images: bytes, labels: bytes) -> Part:
    """A header of 16 and of 8 bytes, then a byte a pixel and a byte a label (yann.lecun.com/exdb/mnist has the format)."""
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28)
    normalized = (pixels.astype(np.float32) / 255 - MEAN) / STD
    return Part(normalized.astype(np.float32), np.frombuffer(labels, np.uint8, offset=8).astype(np.int64))


def download(folder: Path) -> None:
    """Fetches Debian's package and puts its four files into `folder`. Raises ToolError in one line."""
    missing = [program for program in ("apt-get", "dpkg-deb") if shutil.which(program) is None]
    if missing:
        raise ToolError(f"cannot download Debian's package {PACKAGE}: this machine has no {missing[0]}; {_next_step()}")
    work = folder / "work"
    work.mkdir()
    _check(_download(work))
    (package,) = work.glob("*.deb")
    _check(run_process(["dpkg-deb", "-x", str(package), str(work)]))
    for name in FILES:
        (work / "usr/share/datasets/fashion-mnist" / name).rename(folder / name)
    shutil.rmtree(work)


def _download(work: Path) -> Finished:
    """apt-get with the machine's lists of packages, or, where it has none (a fresh container), with private ones."""
    done = _apt_get(work, "download", PACKAGE)
    if done.returncode == 0:
        return done
    private = ("-o", f"Dir::State::lists={work}/lists", "-o", f"Dir::Cache={work}/cache")
    for name in ("lists", "cache"):
        (work / name / "partial").mkdir(parents=True)
    updated = _apt_get(work, *private, "update")
    return _apt_get(work, *private, "download", PACKAGE) if updated.returncode == 0 else updated


def _apt_get(work: Path, *words: str) -> Finished:
    return run_process(["env", "-C", str(work), "apt-get", "-qq", *QUICKLY, *words])


def _check(done: Finished) -> None:
    if done.returncode != 0:
        raise ToolError(f"cannot download Debian's package {PACKAGE}: {last_line(done.stderr)}; {_next_step()}")


def _next_step() -> str:
    return f"put {', '.join(FILES)} into a folder and set {FOLDER} to it"
