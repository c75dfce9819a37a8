"""Results that are not made twice: folders on disk, found again by what they were made from.

    CACHE/KIND/KEY/checksums.json    what is in files/, checked at every use
    CACHE/KIND/KEY/files/            what was stored
    CACHE/.locks/KIND/KEY.lock       held while an entry is made or removed

An entry that is damaged counts as absent. One that a process has fetched is locked (see edgeds.folders) and never
removed before that process is done with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from edgeds import folders
from edgeds.errors import ToolError
from edgeds.folders import shown, why

MAX_BYTES = 4 * 2**30

# What checksums.json was: 1 = edgeds 0.1.
_SCHEMA_VERSION = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_NEXT_STEP = "set EDGEDS_CACHE to a writable folder"


def cache_dir() -> Path:
    """$EDGEDS_CACHE, else $XDG_CACHE_HOME/edgeds, else ~/.cache/edgeds; made if missing.

    Raises ToolError if it cannot be made or written.
    """
    try:
        folder = _chosen_dir()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ToolError(f"cannot make the cache: {why(error)}; {_NEXT_STEP}") from error
    except (RuntimeError, ValueError) as error:  # no home folder; a NUL in the name
        raise ToolError(f"cannot make the cache: {error}; {_NEXT_STEP}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ToolError(f"cannot write the cache {shown(folder)}; {_NEXT_STEP}")
    return folder


def _chosen_dir() -> Path:
    if chosen := os.environ.get("EDGEDS_CACHE"):
        return Path(chosen).absolute()
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # the XDG base directory specification has relative paths ignored
    return (base if base.is_absolute() else Path.home() / ".cache") / "edgeds"


def digest(*parts: str | bytes) -> str:
    """The sha256 of `parts` in hex. No two different lists of parts are hashed as the same bytes."""
    sha256 = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        sha256.update((b"s" if isinstance(part, str) else b"b") + len(data).to_bytes(8, "big"))
        sha256.update(data)
    return sha256.hexdigest()


class Cache:
    """The entries in `root` (by default `cache_dir()`), and which of them this process uses.

    What `fetch`, `store` and `get_or_make` return stays in place until `close`, or the end of the process.
    `kind` and `key` are made of a-z, 0-9, `.`, `_` and `-`. Methods raise ToolError where the cache cannot be used.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = cache_dir() if root is None else root
        self._held: dict[Path, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of every entry: from now on each may be removed at any time."""
        for entry in tuple(self._held):
            self._let_go(entry)

    def fetch(self, kind: str, key: str) -> Path | None:
        """The folder that was stored, every byte verified; None if there is none. A damaged one is removed."""
        entry = self._entry(kind, key)
        with self._in_one_line():
            if files := self._use(entry):
                return files
            if os.path.lexists(entry):
                try:
                    with self._lock(kind, key).acquire(timeout=0):
                        if files := self._use(entry):  # made anew just before
                            return files
                        _remove(entry)
                except Timeout:
                    pass  # somebody is making it anew right now
            return None

    def store(self, kind: str, key: str, fill: Callable[[Path], None]) -> Path:
        """Stores what `fill` writes into the empty folder that it is given; returns where it is.

        If another process stored the same entry meanwhile, returns that one. Prunes the cache afterwards.
        """
        entry = self._entry(kind, key)
        with self._in_one_line():
            with folders.temporary_beside(entry) as temporary:
                (temporary / "files").mkdir()
                fill(temporary / "files")
                _write_checksums(temporary)
                files = self._put_in_place(temporary, kind, key)
            self.prune()
            return files

    def get_or_make(self, kind: str, key: str, fill: Callable[[Path], None]) -> Path:
        """`fetch`, else `store`. Of several processes that want an entry at once, one makes it and the others wait."""
        if files := self.fetch(kind, key):
            return files
        entry = self._entry(kind, key)
        with self._in_one_line(), self._lock(kind, key):
            if files := self._use(entry):
                return files
            _remove(entry)
            return self.store(kind, key, fill)

    def prune(self, max_bytes: int = MAX_BYTES) -> None:
        """Removes the least recently used entries until all are at most `max_bytes`; never one in use.

        Also removes what stopped processes left behind.
        """
        with self._in_one_line():
            kinds = [p for p in self.root.iterdir() if p.is_dir() and not p.name.startswith(".")]
            for kind in kinds:
                folders.clear_abandoned(kind)
            entries = sorted(
                e for kind in kinds for p in kind.iterdir() if _NAME.fullmatch(p.name) for e in _age_and_size(p)
            )
            total_bytes = sum(size_bytes for _, size_bytes, _ in entries)
            for _, size_bytes, entry in entries:
                if total_bytes <= max_bytes:
                    break
                if self._remove_unused(entry):
                    total_bytes -= size_bytes

    def _entry(self, kind: str, key: str) -> Path:
        for name in (kind, key):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot name a cache entry; use a-z, 0-9, '.', '_' and '-'")
        return self.root / kind / key

    def _lock(self, kind: str, key: str) -> FileLock:
        folder = self.root / ".locks" / kind
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return FileLock(folder / f"{key}.lock")

    def _use(self, entry: Path) -> Path | None:
        """Holds and touches `entry` if it is intact."""
        if not self._hold(entry):
            return None
        if not _is_intact(entry):
            self._let_go(entry)
            return None
        os.utime(entry)  # used just now: the last one to be pruned
        return entry / "files"

    def _hold(self, entry: Path) -> bool:
        try:
            descriptor = folders.hold(entry)
        except (FileNotFoundError, NotADirectoryError):
            return False
        self._let_go(entry)  # after the new hold, so that there is no moment without one
        self._held[entry] = descriptor
        return True

    def _let_go(self, entry: Path) -> None:
        descriptor = self._held.pop(entry, None)
        if descriptor is not None:
            os.close(descriptor)

    def _put_in_place(self, temporary: Path, kind: str, key: str) -> Path:
        entry = self._entry(kind, key)
        for _ in range(3):
            if folders.rename_new(temporary, entry):
                self._hold(entry)  # while `temporary_beside` still holds it
                return entry / "files"
            if files := self.fetch(kind, key):
                return files
        raise ToolError(f"the cache entry {shown(entry)} is damaged and cannot be replaced; remove it, or {_NEXT_STEP}")

    def _remove_unused(self, entry: Path) -> bool:
        try:
            with self._lock(entry.parent.name, entry.name).acquire(timeout=0):
                descriptor = folders.claim(entry)
                if descriptor is None:
                    return False
                try:
                    _remove(entry)
                finally:
                    os.close(descriptor)
                return True
        except Timeout:
            return False

    @contextmanager
    def _in_one_line(self) -> Iterator[None]:
        try:
            yield
        except OSError as found:
            error = folders.from_the_system(found)
            if error.errno is None:
                raise
            raise ToolError(
                f"cannot use the cache {shown(self.root)}: {why(error)}; {_NEXT_STEP}, or free some space"
            ) from found


def _listing(entry: Path) -> dict[str, list[str]]:
    """What `files/` holds: the sha256 of each file, and where each link leads (virtual environments have some)."""
    found: dict[str, list[str]] = {}
    for name, item in sorted(folders.walk(entry / "files").items()):
        if item.is_symlink():
            found[name] = ["link", os.readlink(item.path)]
        else:
            found[name] = ["sha256", folders.digest_file(Path(item.path)).sha256]
    return found


def _write_checksums(entry: Path) -> None:
    content = {"schema_version": _SCHEMA_VERSION, "files": _listing(entry)}
    (entry / "checksums.json").write_text(json.dumps(content, indent=1) + "\n")


def _is_intact(entry: Path) -> bool:
    try:
        content = json.loads((entry / "checksums.json").read_bytes())
        return bool(content == {"schema_version": _SCHEMA_VERSION, "files": _listing(entry)})
    except (OSError, ValueError, RecursionError):
        return False


def _age_and_size(entry: Path) -> Iterator[tuple[int, int, Path]]:
    """When it was last used (ns), and its size in bytes; nothing if it was removed meanwhile."""
    try:
        size_bytes = sum(item.stat(follow_symlinks=False).st_size for item in folders.walk(entry).values())
        yield entry.stat().st_mtime_ns, size_bytes, entry
    except (FileNotFoundError, NotADirectoryError):
        pass


def _remove(entry: Path) -> None:
    """Removes an entry so that nobody ever sees a part of it. Call it with the entry's lock."""
    grave = folders.temporary_name(entry)
    try:
        os.rename(entry, grave)
    except FileNotFoundError:
        return
    folders.remove(grave)
