"""The cache: made once, verified at every use, never half there."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeds.cache import Cache, cache_dir, digest
from edgeds.errors import ToolError


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache") as opened:
        yield opened


def filled(text: str) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        (folder / "sub").mkdir()
        for name in ("a", "sub/b"):
            (folder / name).write_text(text)

    return fill


def never(folder: Path) -> None:
    pytest.fail("it was made again")


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def in_child(function: Callable[..., None], *arguments: Path | str) -> subprocess.Popen[str]:
    """Runs a function of this file in a process of its own."""
    code = "import runpy, sys; runpy.run_path(sys.argv[1])[sys.argv[2]](*sys.argv[3:])"
    command = [sys.executable, "-c", code, __file__, function.__name__, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def told(process: subprocess.Popen[str]) -> str:
    """Lets the child go on, and returns the rest of what it says."""
    return process.communicate("go\n", timeout=30)[0].strip()


def child_makes_when_told(root: str, text: str) -> None:
    def fill(folder: Path) -> None:
        filled(text)(folder)
        print("filling", flush=True)
        sys.stdin.readline()

    with Cache(Path(root)) as cache:
        print((cache.get_or_make("kind", "key", fill) / "a").read_text())


def child_makes_at_once(root: str, text: str) -> None:
    print("ready", flush=True)
    with Cache(Path(root)) as cache:
        print((cache.get_or_make("kind", "key", filled(text)) / "a").read_text())


def child_uses(root: str) -> None:
    with Cache(Path(root)) as cache:
        print(cache.fetch("kind", "key"), flush=True)
        sys.stdin.readline()


def child_has_a_full_disk(root: str) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        Cache(Path(root)).get_or_make("kind", "key", filled("x" * 2000))
    except ToolError as error:
        print(error)


# --- where it is


def test_the_folder_is_the_first_that_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EDGEDS_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_dir() == tmp_path / "home" / ".cache" / "edgeds"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative, so ignored")
    assert cache_dir() == tmp_path / "home" / ".cache" / "edgeds"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "edgeds"
    monkeypatch.setenv("EDGEDS_CACHE", "")
    assert cache_dir() == tmp_path / "xdg" / "edgeds"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEDS_CACHE", "mine")
    assert cache_dir() == tmp_path / "mine"
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700
    assert Cache().root == tmp_path / "mine"


def test_a_cache_that_cannot_be_made_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for place in ("file", "file/below", "n" * 300):
        monkeypatch.setenv("EDGEDS_CACHE", str(tmp_path / place))
        with pytest.raises(ToolError, match=r"^cannot make the cache: .*; set EDGEDS_CACHE to a writable folder$"):
            cache_dir()


def test_a_digest_tells_all_lists_of_parts_apart() -> None:
    lists: list[tuple[str | bytes, ...]] = [(), ("",), ("", ""), ("ab",), ("a", "b"), ("b", "a"), (b"ab",), ("\udc80",)]
    assert len({digest(*parts) for parts in lists}) == len(lists)
    expected = hashlib.sha256(b"s" + b"\0" * 7 + b"\2" + "é".encode() + b"b" + b"\0" * 7 + b"\1" + b"x").hexdigest()
    assert digest("é", b"x") == expected


# --- entries


def test_what_was_stored_is_found_again(cache: Cache) -> None:
    assert cache.fetch("kind", "key") is None
    files = cache.store("kind", "key", filled("one"))
    assert cache.fetch("kind", "key") == files
    assert cache.get_or_make("kind", "key", never) == files
    assert cache.fetch("kind", "other") is None
    assert cache.fetch("other", "key") is None
    assert names(files) == ["a", "sub"]
    assert names(files.parent) == ["checksums.json", "files"]


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "A", "a\n"])
def test_a_name_that_could_leave_the_cache_is_refused(cache: Cache, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a cache entry"):
        cache.fetch(name, "key")
    with pytest.raises(ValueError, match="cannot name a cache entry"):
        cache.store("kind", name, never)


def damaged_checksums(files: Path) -> None:
    (files.parent / "checksums.json").write_text("{")


def replaced_by_a_file(files: Path) -> None:
    subprocess.run(["rm", "-r", files.parent], check=True)
    files.parent.touch()


@pytest.mark.parametrize(
    "damage",
    [
        lambda files: (files / "a").write_text("eno"),
        lambda files: (files / "a").unlink(),
        lambda files: (files / "sub" / "new").touch(),
        lambda files: (files / "link").symlink_to("a"),
        lambda files: (files.parent / "checksums.json").unlink(),
        damaged_checksums,
        replaced_by_a_file,
    ],
)
def test_a_damaged_entry_is_removed_and_made_again(cache: Cache, damage: Callable[[Path], None]) -> None:
    files = cache.store("kind", "key", filled("one"))
    damage(files)
    assert cache.fetch("kind", "key") is None
    assert names(cache.root / "kind") == []
    damage(cache.store("kind", "key", filled("one")))
    assert (cache.get_or_make("kind", "key", filled("two")) / "a").read_text() == "two"
    assert names(cache.root / "kind") == ["key"]


def test_links_are_kept_and_checked_by_where_they_lead(cache: Cache) -> None:
    def fill(folder: Path) -> None:
        (folder / "lib").mkdir()
        (folder / "lib64").symlink_to("lib")

    files = cache.store("kind", "key", fill)
    assert cache.fetch("kind", "key") == files
    (files / "lib64").unlink()
    (files / "lib64").symlink_to("elsewhere")
    assert cache.fetch("kind", "key") is None


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), OSError("no system error")])
def test_an_interrupted_entry_leaves_nothing(cache: Cache, error: BaseException) -> None:
    def fill(folder: Path) -> None:
        filled("one")(folder)
        raise error

    with pytest.raises(type(error)):
        cache.get_or_make("kind", "key", fill)
    assert names(cache.root / "kind") == []
    assert (cache.get_or_make("kind", "key", filled("two")) / "a").read_text() == "two"


def test_the_entry_that_another_process_stored_meanwhile_is_used(cache: Cache) -> None:
    def fill(folder: Path) -> None:
        with Cache(cache.root) as other:
            other.store("kind", "key", filled("theirs"))
        filled("mine")(folder)

    assert (cache.store("kind", "key", fill) / "a").read_text() == "theirs"
    assert names(cache.root / "kind") == ["key"]


def test_an_entry_may_need_another_entry(cache: Cache) -> None:
    def fill(folder: Path) -> None:
        (folder / "a").write_text((cache.get_or_make("kind", "inner", filled("one")) / "a").read_text())

    assert (cache.get_or_make("kind", "outer", fill) / "a").read_text() == "one"


# --- the size cap


def stored(cache: Cache, *keys: str) -> None:
    """Stores entries of 1000 bytes and a little, used in this order, none in use any more."""

    def fill(folder: Path) -> None:
        (folder / "a").write_bytes(bytes(1000))

    for age, key in enumerate(keys):
        cache.store("kind", key, fill)
        os.utime(cache.root / "kind" / key, (age, age))
    cache.close()


def test_the_least_recently_used_are_pruned_first(cache: Cache) -> None:
    stored(cache, "oldest", "old", "new")
    cache.fetch("kind", "oldest")  # now the newest
    cache.close()
    cache.prune(10_000)
    assert names(cache.root / "kind") == ["new", "old", "oldest"]
    cache.prune(2900)
    assert names(cache.root / "kind") == ["new", "oldest"]
    cache.prune(1500)
    assert names(cache.root / "kind") == ["oldest"]
    cache.prune(0)
    assert names(cache.root / "kind") == []


def test_an_entry_in_use_is_never_pruned(cache: Cache) -> None:
    stored(cache, "key", "other")
    child = in_child(child_uses, cache.root)
    assert heard(child) == str(cache.root / "kind" / "key" / "files")
    cache.prune(0)
    assert names(cache.root / "kind") == ["key"]
    told(child)
    cache.fetch("kind", "key")
    cache.prune(0)
    assert names(cache.root / "kind") == ["key"]
    cache.close()
    cache.prune(0)
    assert names(cache.root / "kind") == []


def test_an_entry_being_made_is_never_pruned(cache: Cache) -> None:
    def fill(folder: Path) -> None:
        cache.prune(0)
        filled("one")(folder)

    assert (cache.get_or_make("kind", "key", fill) / "a").read_text() == "one"


# --- several processes, and their deaths


def test_two_processes_do_the_same_work_once(cache: Cache) -> None:
    first = in_child(child_makes_when_told, cache.root, "first")
    assert heard(first) == "filling"
    second = in_child(child_makes_at_once, cache.root, "second")
    assert heard(second) == "ready"
    assert cache.fetch("kind", "key") is None
    assert told(first) == "first"
    assert told(second) == "first"


def test_what_a_killed_process_left_is_removed_and_its_work_done_again(cache: Cache) -> None:
    child = in_child(child_makes_when_told, cache.root, "first")
    assert heard(child) == "filling"
    cache.prune(0)
    assert len(names(cache.root / "kind")) == 1, "the folder of a living process was removed"
    child.kill()
    child.communicate(timeout=30)
    assert (cache.get_or_make("kind", "key", filled("second")) / "a").read_text() == "second"
    assert names(cache.root / "kind") == ["key"]


def test_prune_removes_what_killed_processes_left(cache: Cache) -> None:
    child = in_child(child_makes_when_told, cache.root, "first")
    assert heard(child) == "filling"
    child.kill()
    child.communicate(timeout=30)
    cache.prune()
    assert names(cache.root / "kind") == []


def test_a_full_disk_is_one_line_and_leaves_nothing(cache: Cache) -> None:
    child = in_child(child_has_a_full_disk, cache.root)
    lines = told(child).splitlines()
    assert len(lines) == 1
    assert "File too large; set EDGEDS_CACHE to a writable folder, or free some space" in lines[0]
    assert names(cache.root / "kind") == []
