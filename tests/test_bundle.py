"""The bundle: whole or not there, whatever happens meanwhile. What races or dies here is a real process of its own."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from edgeds import folders, spec
from edgeds.bundle import check_writable, finish, open_bundle, write_bundle
from edgeds.errors import BundleError


def unfinished(artifacts: tuple[spec.Artifact, ...] = ()) -> spec.Manifest:
    return spec.Manifest(
        schema_version=1,
        edgeds_version="0.1.0",
        model=spec.ModelCard("tiny", "seeded", 10, ((1, 3, 8, 8),), ((1, 2),), None, ()),
        recipe=None,
        calibration=None,
        validation=spec.DataCard("photos", 4, "cd"),
        quantization=(),
        artifacts=artifacts,
        drift=(),
        limits=spec.DriftLimits(),
        warnings=(),
        files={},
    )


def fill(folder: Path, text: str) -> None:
    (folder / "sub").mkdir()
    for name in ("a.bin", "b.bin", "sub/c.bin"):
        (folder / name).write_text(text)
    finish(folder, unfinished())


def make(final: Path, text: str = "one", force: bool = False) -> Path:
    with write_bundle(final, force) as folder:
        fill(folder, text)
    return final


def text_of(bundle: Path) -> str:
    """The text that all three files have: one bundle's, not a mixture of two."""
    open_bundle(bundle)
    texts = {(bundle / name).read_text() for name in ("a.bin", "b.bin", "sub/c.bin")}
    assert len(texts) == 1
    return texts.pop()


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(BundleError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# --- processes of their own: `in_child` runs one of these functions of this file


def in_child(function: Callable[..., None], *arguments: Path | str) -> subprocess.Popen[str]:
    # a test run that was started in the background ignores Ctrl-C, and so would its child
    code = "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "runpy.run_path(sys.argv[1])[sys.argv[2]](*sys.argv[3:])"
    command = [sys.executable, "-c", code, __file__, function.__name__, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def say(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin
    process.stdin.write(f"{text}\n")
    process.stdin.flush()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def ended(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=30)[0].strip()


def child_writes_when_told(final: str, text: str, force: str) -> None:
    try:
        with write_bundle(Path(final), bool(force)) as folder:
            fill(folder, text)
            print("written", flush=True)
            sys.stdin.readline()
    except BundleError as error:
        print(error)
    except KeyboardInterrupt:
        print("interrupted")
    else:
        print("done")


def child_replaces_often(final: str, text: str) -> None:
    for _ in range(15):
        make(Path(final), text, force=True)


def child_has_a_full_disk(final: str) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        make(Path(final), "x" * 2000, force=True)
    except BundleError as error:
        print(error)


def child_is_nobody(final: str) -> None:
    if os.getuid() == 0:
        os.setuid(65534)
    for action in (lambda: check_writable(Path(final), True), lambda: make(Path(final), force=True)):
        try:
            action()
        except BundleError as error:
            print(error)


# --- writing


def test_a_bundle_opens_as_it_was_written_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    final = make(tmp_path / "new" / "parents" / "out")
    bundle = open_bundle(final)
    assert list(bundle.manifest.files) == ["a.bin", "b.bin", "sub/c.bin"]
    assert bundle.path == final
    assert names(final) == ["a.bin", "b.bin", "manifest.json", "sub"]
    assert names(final.parent) == ["out"]


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (make(tmp_path / name) / "manifest.json" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_the_folder_has_the_permissions_of_any_new_folder(tmp_path: Path) -> None:
    (tmp_path / "ordinary").mkdir()
    assert make(tmp_path / "out").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_an_existing_target_is_refused_before_the_body_runs(tmp_path: Path) -> None:
    make(tmp_path / "out")

    def write() -> None:
        with write_bundle(tmp_path / "out", force=False):
            pytest.fail("the work was begun")

    assert refused(write).endswith("out exists; --force replaces it, or choose another --out")
    assert refused(lambda: check_writable(tmp_path / "out", False)) == refused(write)
    assert text_of(tmp_path / "out") == "one"


def test_force_replaces_a_bundle_whole(tmp_path: Path) -> None:
    make(tmp_path / "out")
    (tmp_path / "out" / "a.bin").write_text("damaged")
    make(tmp_path / "out", "two", force=True)
    assert text_of(tmp_path / "out") == "two"
    assert names(tmp_path) == ["out"]


def test_force_replaces_an_empty_folder_and_a_place_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new"):
        make(tmp_path / name, force=True)
        assert text_of(tmp_path / name) == "one"


@pytest.mark.parametrize("manifest", [None, "", "{}", '{"schema_version": 1, "name": "of another program"}', "[1]"])
def test_force_never_touches_a_folder_that_is_no_bundle(tmp_path: Path, manifest: str | None) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    if manifest is not None:
        (home / "manifest.json").write_text(manifest)
    assert "not replaced; choose another --out" in refused(lambda: make(home, force=True))
    assert (home / "thesis.tex").read_text() == "years of work"


def test_a_file_in_the_place_or_above_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("keep")
    for final in (tmp_path / "file", tmp_path / "file" / "out", tmp_path / "file" / "a" / "out"):
        for force in (False, True):
            assert "is a file, not a folder; choose another --out" in refused(partial(check_writable, final, force))
    assert (tmp_path / "file").read_text() == "keep"


def test_places_that_cannot_be_renamed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cannot be a bundle" in refused(lambda: check_writable(Path("/"), True))
    assert "mount point" in refused(lambda: check_writable(Path("/proc"), True))
    monkeypatch.chdir(tmp_path)
    assert "folder that you are in" in refused(lambda: check_writable(Path(), True))


@pytest.mark.parametrize("name", ["n" * 256, "n" * 250, "x/" + "n" * 256 + "/out", "x/" * 3000 + "out"])
def test_a_name_that_is_too_long_is_refused_before_the_work(tmp_path: Path, name: str) -> None:
    message = refused(lambda: check_writable(tmp_path / name, False))
    assert "was not written: File name too long" in message
    assert message.endswith("; choose a shorter --out")


def test_a_null_byte_in_the_name_is_refused(tmp_path: Path) -> None:
    assert "null byte in it; choose another --out" in refused(lambda: check_writable(tmp_path / "a\0b", False))


def test_through_a_link_the_bundle_stands_where_the_link_leads(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to("elsewhere/real")
    for text in ("one", "two"):
        make(tmp_path / "out", text, force=True)
        assert text_of(tmp_path / "elsewhere" / "real") == text
    assert (tmp_path / "out").is_symlink()


def test_a_folder_that_one_may_not_write_is_refused_up_front(tmp_path: Path) -> None:
    shared = Path("/tmp") if os.getuid() == 0 else tmp_path
    parent = shared / f"edgeds-test-{os.getpid()}"  # where nobody, too, can look
    parent.mkdir(mode=0o755)
    try:
        make(parent / "old")
        parent.chmod(0o555)
        for final in (parent / "new", parent / "deep" / "new", parent / "old"):
            lines = ended(in_child(child_is_nobody, final)).splitlines()
            assert len(lines) == 2
            assert all("cannot be written by you; choose another --out" in line for line in lines)
        assert names(parent) == ["old"]
    finally:
        parent.chmod(0o755)
        shutil.rmtree(parent)


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), SystemExit(1), OSError("no system error")])
def test_an_exception_leaves_the_old_bundle_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    make(tmp_path / "out")
    with pytest.raises(type(error)), write_bundle(tmp_path / "out", force=True) as folder:
        fill(folder, "two")
        raise error
    assert text_of(tmp_path / "out") == "one"
    assert names(tmp_path) == ["out"]


def test_a_body_that_does_not_finish_makes_no_bundle(tmp_path: Path) -> None:
    def write(change: Callable[[Path], object]) -> None:
        with write_bundle(tmp_path / "out", force=False) as folder:
            change(folder)

    def append(folder: Path) -> None:
        fill(folder, "one")
        with open(folder / "a.bin", "a") as log:
            log.write("too late")

    assert "manifest.json" in refused(lambda: write(lambda folder: (folder / "a").touch()))
    assert "'a.bin' has 11 bytes" in refused(lambda: write(append))
    assert names(tmp_path) == []


def test_finish_refuses_what_cannot_be_in_a_bundle(tmp_path: Path) -> None:
    def finished_with(change: Callable[[Path], object]) -> Callable[[], object]:
        shutil.rmtree(tmp_path / "f", ignore_errors=True)
        (tmp_path / "f").mkdir()
        change(tmp_path / "f")
        return lambda: finish(tmp_path / "f", unfinished())

    def two_cases(folder: Path) -> None:
        for name in ("x", "X"):
            (folder / name).touch()

    assert "'x' is a symbolic link" in refused(finished_with(lambda f: (f / "x").symlink_to("y")))
    assert "'x' is a pipe" in refused(finished_with(lambda f: os.mkfifo(f / "x")))
    assert "one file on many phones" in refused(finished_with(two_cases))
    assert "plain relative path" in refused(finished_with(lambda f: (f / "a\\b").touch()))
    assert "plain relative path" in refused(finished_with(lambda f: open(os.fsencode(f) + b"/\xff", "wb").close()))


# --- opening


def same_size(bundle: Path) -> None:
    (bundle / "a.bin").write_text("eno")


def another_type(bundle: Path) -> None:
    (bundle / "a.bin").unlink()
    (bundle / "a.bin").mkdir()


def link_to_the_same_bytes(bundle: Path) -> None:
    (bundle / "a.bin").rename(bundle.parent / "moved")
    (bundle / "a.bin").symlink_to(bundle.parent / "moved")


def linked_folder(bundle: Path) -> None:
    (bundle / "sub").rename(bundle.parent / "moved")
    (bundle / "sub").symlink_to(bundle.parent / "moved")


def manifest_names_another(bundle: Path) -> None:
    manifest = bundle / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"a.bin"', '"../a.bin"'))


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda b: (b / "a.bin").unlink(), "'a.bin' is missing"),
        (lambda b: shutil.rmtree(b / "sub"), "'sub/c.bin' is missing"),
        (lambda b: (b / "sub" / "new").touch(), "'sub/new' is not listed"),
        (lambda b: (b / "a.bin").write_text("longer"), "'a.bin' has 6 bytes, its manifest says 3"),
        (same_size, "'a.bin' was changed, its sha256"),
        (another_type, "'a.bin' is missing"),
        (link_to_the_same_bytes, "'a.bin' is a symbolic link"),
        (linked_folder, "'sub' is a symbolic link"),
        (lambda b: os.mkfifo(b / "sub" / "pipe"), "'sub/pipe' is a pipe"),
        (lambda b: (b / "manifest.json").unlink(), "manifest.json"),
        (lambda b: (b / "manifest.json").write_text("{"), "not JSON, or cut off"),
        (manifest_names_another, "'../a.bin' cannot be the name"),
        (lambda b: shutil.rmtree(b), "No such file"),
    ],
)
def test_a_bundle_that_was_tampered_with_is_refused(
    tmp_path: Path, tamper: Callable[[Path], None], message: str
) -> None:
    bundle = make(tmp_path / "out")
    tamper(bundle)
    assert message in refused(lambda: open_bundle(bundle))
    if tamper is same_size:
        open_bundle(bundle, verify=False)  # the one thing that only hashing finds
    else:
        assert message in refused(lambda: open_bundle(bundle, verify=False))


def test_a_bundle_nested_deeper_than_python_recurses_is_refused(tmp_path: Path) -> None:
    bundle = make(tmp_path / "out")
    deep = bundle / ("d/" * 1200)
    subprocess.run(["mkdir", "-p", deep], check=True)
    (deep / "x").touch()
    try:
        assert "is not listed" in refused(lambda: open_bundle(bundle))
    finally:
        subprocess.run(["rm", "-r", bundle], check=True)  # pytest, too, would recurse


def test_a_copied_bundle_opens_and_its_manifest_alone_does_not(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(make(tmp_path / "out"), tmp_path / "copy"))
    assert text_of(copy) == "one"
    assert "give the folder" in refused(lambda: open_bundle(copy / "manifest.json"))


# --- several processes, and their deaths


def two_writers(final: Path, force: str) -> list[str]:
    """What each says, the second one written first being told to go on last."""
    writers = [in_child(child_writes_when_told, final, text, force) for text in ("one", "two")]
    assert [heard(w) for w in writers] == ["written", "written"]
    assert len(names(final.parent)) == 2  # both still under temporary names
    said = []
    for writer in writers:
        say(writer, "go")
        said.append(ended(writer))
    return said


def test_of_two_writers_without_force_the_first_one_wins(tmp_path: Path) -> None:
    first, second = two_writers(tmp_path / "out", "")
    assert first == "done"
    assert "appeared meanwhile; --force replaces it, or choose another --out" in second
    assert text_of(tmp_path / "out") == "one"
    assert names(tmp_path) == ["out"]


def test_of_two_writers_with_force_the_last_one_wins(tmp_path: Path) -> None:
    assert two_writers(tmp_path / "out", "yes") == ["done", "done"]
    assert text_of(tmp_path / "out") == "two"
    assert names(tmp_path) == ["out"]


def test_writers_that_replace_each_other_never_leave_the_place_empty_or_mixed(tmp_path: Path) -> None:
    make(tmp_path / "out")
    writers = [in_child(child_replaces_often, tmp_path / "out", text) for text in ("one", "two")]
    while any(w.poll() is None for w in writers):
        os.stat(tmp_path / "out")  # raises if the name is missing for a moment
    assert [w.returncode for w in writers if ended(w) == ""] == [0, 0]
    assert text_of(tmp_path / "out") in ("one", "two")
    assert names(tmp_path) == ["out"]


def test_ctrl_c_removes_what_was_begun(tmp_path: Path) -> None:
    make(tmp_path / "out")
    writer = in_child(child_writes_when_told, tmp_path / "out", "two", "yes")
    assert heard(writer) == "written"
    writer.send_signal(signal.SIGINT)
    assert ended(writer) == "interrupted"
    assert text_of(tmp_path / "out") == "one"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("deadly", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_process_left_is_removed_by_the_next_one_and_not_before(
    tmp_path: Path, deadly: signal.Signals
) -> None:
    make(tmp_path / "out")
    writer = in_child(child_writes_when_told, tmp_path / "out", "two", "yes")
    assert heard(writer) == "written"
    make(tmp_path / "out", "three", force=True)
    begun = names(tmp_path)
    assert len(begun) == 2, "the folder of a living process was removed"
    assert re.fullmatch(r"\.out\.edgeds-[0-9a-f]{8}", begun[0])
    writer.send_signal(deadly)
    writer.communicate(timeout=30)
    assert names(tmp_path) == begun
    make(tmp_path / "other")
    assert len(names(tmp_path)) == 3, "it is for those who write to the same place"
    make(tmp_path / "out", "four", force=True)
    assert names(tmp_path) == ["other", "out"]
    assert text_of(tmp_path / "out") == "four"


def test_a_full_disk_is_one_line_and_leaves_the_old_bundle(tmp_path: Path) -> None:
    make(tmp_path / "out")
    line = ended(in_child(child_has_a_full_disk, tmp_path / "out"))
    assert "was not written: File too large" in line
    assert "or choose another --out" in line
    assert len(line.splitlines()) == 1
    assert text_of(tmp_path / "out") == "one"
    assert names(tmp_path) == ["out"]


# --- where the system cannot exchange two folders


def test_without_an_atomic_exchange_two_renames_do_the_same(tmp_path: Path) -> None:
    for name in ("new", "out"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert folders.swap_by_renames(tmp_path / "new", tmp_path / "out")
    assert names(tmp_path / "out") == ["new"]
    assert names(tmp_path / "new") == ["out"]
    assert names(tmp_path) == ["new", "out"]


def test_an_exchange_that_was_killed_between_two_renames_is_undone_by_the_next_writer(tmp_path: Path) -> None:
    make(tmp_path / "out").rename(tmp_path / ".out.edgeds-0123abcd.old")
    (tmp_path / ".out.edgeds-0123abcd").mkdir()
    assert "appeared meanwhile" in refused(lambda: make(tmp_path / "out", "two"))
    assert text_of(tmp_path / "out") == "one"
    assert names(tmp_path) == ["out"]


def test_renaming_never_replaces_anything(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("empty", "file", "link"):
        assert not folders.rename_new(tmp_path / "new", tmp_path / name)
    assert not folders.swap(tmp_path / "new", tmp_path / "gone")
    assert names(tmp_path) == ["empty", "file", "link", "new"]
    assert folders.rename_new(tmp_path / "new", tmp_path / "gone")


def test_a_place_where_no_folder_can_be_made_is_refused_up_front(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"^the bundle /proc/bundle was not written: No such file or directory"):
        check_writable(Path("/proc/bundle"), force=False)
    check_writable(tmp_path / "a" / "bundle", force=False)
    assert list(tmp_path.iterdir()) == []


def test_an_array_that_does_not_fit_on_the_disk_is_one_line_without_a_half_bundle(tmp_path: Path) -> None:
    with (
        pytest.raises(BundleError, match=r"was not written: No space left on device; free some space"),
        write_bundle(tmp_path / "bundle", force=False),
    ):
        raise OSError("18432 requested and 7136 written")  # as numpy.save says it
    assert list(tmp_path.iterdir()) == []
