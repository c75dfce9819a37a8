"""Folders that appear whole or not at all: locks, temporary folders, atomic renames, and what is inside.

A folder that is being written has a name like `.NAME.edgeds-0123abcd` beside its place, and its process holds a
shared flock on the folder itself: no lock file ends up inside, and the lock survives the rename. Who wants to
remove such a folder needs the exclusive lock first, so only those whose process is gone are removed. On file
systems without flock nothing counts as abandoned, and nothing is removed.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgeds.spec import FileDigest

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.edgeds-[0-9a-f]{8}(?P<old>\.old)?", re.DOTALL)

# Linux: include/uapi/linux/fs.h and fcntl.h
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
# what a kernel or file system answers that does not know renameat2 or its flag
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


def shown(path: Path | str) -> str:
    """A path as an error message has it: always on one line, whatever characters are in it."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


def from_the_system(error: OSError) -> OSError:
    """The error with its errno where NumPy has lost it: of an array that is written half it tells how many elements, not that the disk is full."""
    if error.errno is None and re.fullmatch(r"\d+ requested and \d+ written", str(error)):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return error


def why(error: OSError) -> str:
    """What the system says, in one line, with the file that it says it of."""
    if error.strerror is None:
        return " ".join(str(error).split())
    return error.strerror if error.filename is None else f"{error.strerror}: {shown(os.fsdecode(error.filename))}"


def walk(folder: Path) -> dict[str, os.DirEntry[str]]:
    """All that is no folder in `folder` and below, by its relative path with forward slashes; follows no link."""
    found: dict[str, os.DirEntry[str]] = {}
    pending = [""]  # a list, not recursion: the depth is in the hands of whoever made the folder
    while pending:
        prefix = pending.pop()
        with os.scandir(folder / prefix) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{prefix}{entry.name}/")
                else:
                    found[prefix + entry.name] = entry
    return found


def open_regular(path: Path) -> int:
    """A descriptor to read `path` with; raises OSError for links, and for pipes and devices (which could block)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "a symbolic link, not an ordinary file", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not an ordinary file", str(path))
    return descriptor


def digest_file(path: Path) -> FileDigest:
    """The sha256 and the size of an ordinary file; raises OSError where it is none, or cannot be read."""
    with open(open_regular(path), "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return FileDigest(sha256, file.tell())


def hold(folder: Path) -> int:
    """Marks `folder` as used until the returned descriptor is closed; raises FileNotFoundError where it is gone."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _flock(descriptor, fcntl.LOCK_SH)
        # it may have been removed, or replaced, while we waited for the lock
        if not os.path.samestat(os.fstat(descriptor), os.stat(folder)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def claim(folder: Path) -> int | None:
    """Like `hold`, but for one alone: None where somebody uses `folder`, it is gone, or there are no locks here."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None  # gone, or not ours to remove
    if _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
        return descriptor
    os.close(descriptor)
    return None


def _flock(descriptor: int, operation: int) -> bool:
    """Whether the lock was taken; not where another has it, nor on file systems that have no locks."""
    try:
        fcntl.flock(descriptor, operation)
    except OSError:
        return False
    return True


def remove(folder: Path) -> None:
    """Removes `folder` as far as it can, and warns where something is left. Others may be removing it too."""
    with suppress(RecursionError):  # rmtree recurses; nothing that edgeds wrote is so deep
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        os.unlink(folder)  # it was no folder
    if os.path.lexists(folder):
        warnings.warn(f"{shown(folder)} could not be removed entirely; remove it by hand", RuntimeWarning, stacklevel=2)


def temporary_name(final: Path) -> Path:
    """A fresh name beside `final`."""
    return final.with_name(f".{final.name}.edgeds-{secrets.token_hex(4)}")


@contextmanager
def temporary(prefix: str, unless: type[BaseException] | tuple[()] = ()) -> Iterator[Path]:
    """An empty folder among the system's temporary ones, gone afterwards, `unless` such an exception leaves it.

    tempfile's leaves its folder behind where Ctrl-C comes just after it was made; here the name is known before.
    """
    folder = Path(tempfile.gettempdir()) / f"{prefix}{secrets.token_hex(8)}"
    try:
        folder.mkdir(mode=0o700)
        yield folder
    except unless:
        raise
    except BaseException:
        remove(folder)
        raise
    remove(folder)


@contextmanager
def temporary_beside(final: Path) -> Iterator[Path]:
    """An empty folder on the same file system as `final`, held by this process; afterwards it is gone or renamed.

    Abandoned ones of the same `final` are removed first. Raises OSError.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    clear_abandoned(final.parent, final.name)
    temporary = temporary_name(final)  # known before it is made, so that an interrupt in between leaves nothing
    descriptor = None
    try:
        descriptor = _make_held(temporary)
        yield temporary
    finally:
        try:
            _discard(temporary, final)
        except BaseException:
            _discard(temporary, final)  # the Ctrl-C came in the middle of cleaning up
            raise
        if descriptor is not None:
            os.close(descriptor)


def _discard(temporary: Path, final: Path) -> None:
    _restore_old(temporary.with_name(f"{temporary.name}.old"), final)
    remove(temporary)


def _make_held(folder: Path) -> int:
    while True:
        folder.mkdir()
        # between these two lines it looks abandoned, and another process may remove it
        with suppress(FileNotFoundError):
            return hold(folder)


def clear_abandoned(parent: Path, name: str | None = None) -> None:
    """Removes the temporary folders in `parent` whose process is gone: those for `name`, or all of them."""
    with os.scandir(parent) as entries:
        matches = [(e, m) for e in entries if (m := _TEMPORARY.fullmatch(e.name)) and e.is_dir(follow_symlinks=False)]
    for entry, match in matches:
        if name not in (None, match["name"]):
            continue
        descriptor = claim(Path(entry))
        if descriptor is not None:
            if match["old"]:
                _restore_old(Path(entry), parent / match["name"])
            else:
                remove(Path(entry))
            os.close(descriptor)


def _restore_old(old: Path, final: Path) -> None:
    """Ends a swap by two renames that was stopped: `old` goes back to its place, or away where that is taken again."""
    if os.path.lexists(old) and not rename_new(old, final):
        remove(old)


def rename_new(source: Path, target: Path) -> bool:
    """Renames a folder atomically if nothing stands at `target`; false if something does, whatever it is."""
    try:
        if _renameat2(source, target, _RENAME_NOREPLACE):
            return True
        if os.path.lexists(target):
            return False
        os.rename(source, target)  # would still replace an empty folder that appears right now, nothing else
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR) and os.path.lexists(target):
            return False
        raise
    return True


def swap(source: Path, target: Path) -> bool:
    """Exchanges two folders, atomically where the system can; false if nothing stands at `target` any more."""
    try:
        return _renameat2(source, target, _RENAME_EXCHANGE) or swap_by_renames(source, target)
    except FileNotFoundError:
        if os.path.lexists(target):
            raise
        return False


def swap_by_renames(source: Path, target: Path) -> bool:
    """`swap` where there is no exchange. If it is stopped in the middle, `clear_abandoned` puts the old folder back."""
    old = source.with_name(f"{source.name}.old")
    os.rename(target, old)
    if not rename_new(source, target):
        remove(old)  # somebody put a newer one there just now
        return False
    os.rename(old, source)
    return True


def _renameat2(source: Path, target: Path, flag: int) -> bool:
    """False where this system or file system does not have it; raises OSError where the rename itself fails."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flag) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(source), None, str(target))


def sync(folder: Path) -> None:
    """Has the disk keep all of `folder` now, so that no crash shows a renamed folder with empty files in it."""
    folders = {folder}
    for name in walk(folder):
        path = folder / name
        _fsync(path)
        folders.update(p for p in path.parents if p.is_relative_to(folder))
    for path in folders:
        _fsync(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_parent(path: Path) -> None:
    """Has the disk keep the name `path` itself."""
    _fsync(path.parent)
