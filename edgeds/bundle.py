"""The bundle: a folder that is written beside its place, renamed into it, and checked whenever it is opened."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from edgeds import folders, manifest
from edgeds.errors import BundleError
from edgeds.folders import shown, why
from edgeds.spec import Bundle, Manifest

_NEXT_STEP = {
    errno.ENOSPC: "free some space, or choose another --out",
    errno.EDQUOT: "free some of your quota, or choose another --out",
    errno.EFBIG: "raise the file size limit, or choose another --out",
    errno.ENAMETOOLONG: "choose a shorter --out",
}
# With --force, each turn is lost only to another process that replaced the bundle in the same moment.
_TURNS = 100


def open_bundle(path: Path, verify: bool = True) -> Bundle:
    """Opens a bundle and checks that it has exactly the files of its manifest.

    With `verify` their sha256 too, before anything in them is looked at. Nothing in a bundle is executed or unpickled.
    Raises BundleError for one that is missing, damaged, or tampered with.
    """
    content = manifest.read_manifest(path)
    if not path.is_dir():
        raise BundleError(f"{shown(path)} is a file; give the folder that it is in")
    try:
        manifest.check_files(path, content, hashes=verify)
    except OSError as error:
        raise BundleError(f"cannot read the bundle {shown(path)}: {why(error)}") from error
    return Bundle(path, content)


def finish(folder: Path, unfinished: Manifest) -> Manifest:
    """Digests all files in `folder`, writes its manifest.json, and returns it: `unfinished` with `files` filled in.

    It is the last thing to do inside `write_bundle`. Raises BundleError for files that cannot be in a bundle, and for
    artifacts that are not in `folder`.
    """
    complete = replace(unfinished, files=manifest.digest_files(folder))
    text = manifest.encode(complete)
    manifest.decode(text, shown(folder / manifest.NAME))
    (folder / manifest.NAME).write_bytes(text)
    return complete


def check_writable(final: Path, force: bool) -> None:
    """Raises BundleError if a bundle cannot be written to `final`, as far as one can know before the work is done.

    A folder beside it is made and removed. With `force`, a bundle or an empty folder may stand there already, and nothing else.
    """
    with _in_one_line(final):
        place = _place(final)
        if os.path.lexists(place):
            _check_replaceable(place, force)
        _check_parent(place)


@contextmanager
def write_bundle(final: Path, force: bool) -> Iterator[Path]:
    """Yields an empty folder beside `final`, which becomes `final` at the end if nothing was raised.

    The body ends with `finish`. Until then `final` is as it was; it changes in one atomic step, after all of the new
    bundle is on the disk and verified. On every exception, Ctrl-C included, the folder is removed; if the process is
    killed, the next one that writes to `final` removes it. Of two writers at once without `force` the first one wins,
    with `force` the last one. Raises BundleError, also for any OSError of the system inside the body, like a full disk.
    """
    check_writable(final, force)
    with _in_one_line(final):
        place = _place(final)
        with folders.temporary_beside(place) as temporary:
            yield temporary
            open_bundle(temporary)
            folders.sync(temporary)
            _put_in_place(temporary, place, force)
            folders.sync_parent(place)


def _put_in_place(temporary: Path, place: Path, force: bool) -> None:
    for _ in range(_TURNS):
        if folders.rename_new(temporary, place):
            return
        if not force:
            raise BundleError(f"{shown(place)} appeared meanwhile; --force replaces it, or choose another --out")
        _check_replaceable(place, force)
        if folders.swap(temporary, place):
            return  # the old one is the temporary folder now, and is removed as such
    raise BundleError(f"{shown(place)} is replaced by others all the time; choose another --out")


def _place(final: Path) -> Path:
    """Where `final` really is: with a link, the new bundle stands where the link leads."""
    if "\0" in str(final):
        raise BundleError(f"{shown(final)} has a null byte in it; choose another --out")
    place = Path(os.path.realpath(final))
    if not place.name:
        raise BundleError(f"{shown(final)} cannot be a bundle; choose another --out")
    return place


def _check_replaceable(place: Path, force: bool) -> None:
    if not place.is_dir():
        raise BundleError(f"{shown(place)} is a file, not a folder; choose another --out")
    if not force:
        raise BundleError(f"{shown(place)} exists; --force replaces it, or choose another --out")
    if place.is_mount():
        raise BundleError(f"{shown(place)} is a mount point and cannot be replaced; choose an --out inside it")
    if Path.cwd().is_relative_to(place):
        raise BundleError(f"{shown(place)} is the folder that you are in and cannot be replaced; choose another --out")
    # edgeds_version beside schema_version: other programs have a manifest.json too
    if os.listdir(place) and not manifest.looks_like_a_bundle(place):
        raise BundleError(f"{shown(place)} holds other things than a bundle and is not replaced; choose another --out")
    _check_access(place)  # its files will have to be removed


def _check_parent(place: Path) -> None:
    folder = next(parent for parent in place.parents if os.path.lexists(parent))
    if not folder.is_dir():
        raise BundleError(f"{shown(folder)} is a file, not a folder; choose another --out")
    _check_access(folder)
    temporary = folders.temporary_name(place)
    names = (*place.parent.relative_to(folder).parts, temporary.name)
    for path in (temporary, *(folder / name for name in names)):
        with suppress(FileNotFoundError):
            os.lstat(path)  # raises for a path, or a name in it, that is too long
    # rights do not tell all: /proc, and what is mounted to be read
    trial = folder / folders.temporary_name(folder / place.name).name
    trial.mkdir()
    trial.rmdir()


def _check_access(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BundleError(f"{shown(folder)} cannot be written by you; choose another --out")


@contextmanager
def _in_one_line(final: Path) -> Iterator[None]:
    try:
        yield
    except OSError as found:
        error = folders.from_the_system(found)
        if error.errno is None:
            raise
        step = _NEXT_STEP.get(error.errno, "choose another --out")
        raise BundleError(f"the bundle {shown(final)} was not written: {why(error)}; {step}") from found
