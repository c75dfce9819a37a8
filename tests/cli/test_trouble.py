"""What can happen to an export while it runs: Ctrl-C, a second one, a full disk, a cache that cannot be written."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeds.bundle import open_bundle
from tests.cli.starting import command

Call = Callable[..., subprocess.CompletedProcess[str]]

EXPORT = (
    "export net.py:tiny --calibration photos --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25 --resize 36 --labels labels.txt"
)
CACHED = (*EXPORT.split(), "--precision", "int8,fp32")
ALONE = (*EXPORT.split(), "--no-cache", "--format", "executorch")


# A test run that was started in the background, or by nohup, ignores these signals, and so would what it starts.
DEFAULT_SIGNALS = "import signal; [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGHUP)]"


def started(home: Path, cache: Path, arguments: tuple[str, ...], **extra: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments, before=DEFAULT_SIGNALS),
        cwd=home,
        env={**os.environ, "EDGEDS_CACHE": str(cache), **extra},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def with_variable(variable: str) -> list[int]:
    """The processes that have inherited an environment variable."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and variable.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:  # it ended just now, or belongs to somebody else
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for children in /proc")
@pytest.mark.parametrize(
    ("step", "whole_group"),  # to edgeds alone, or to all that it started, as a terminal does
    [("quantize", False), ("lower to executorch int8", False), ("lower to executorch int8", True), ("validate", True)],
)
def test_ctrl_c_leaves_nothing_behind(
    exported: Any, home: Path, cache: Path, tmp_path: Path, step: str, whole_group: bool
) -> None:
    for name in ("out", "tmp"):
        (tmp_path / name).mkdir()
    arguments = ALONE
    if step == "validate":  # all until there from the cache, but no run
        own = tmp_path / "cache"
        shutil.copytree(cache, own, ignore=shutil.ignore_patterns(".environments", "runs"))
        (own / ".environments").symlink_to(cache / ".environments")
        cache, arguments = own, CACHED
    mark = str(uuid.uuid4())
    out = tmp_path / "out" / "bundle"
    process = started(home, cache, (*arguments, "--out", str(out)), TMPDIR=str(tmp_path / "tmp"), EDGEDS_MARK=mark)
    assert process.stderr is not None
    said = ""
    while f"{step} ...\n" not in said:
        said += (line := process.stderr.readline())
        assert line, said
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout, stderr.splitlines()[-1]) == (130, "", "edgeds: interrupted")
    assert "Traceback" not in stderr
    assert os.listdir(tmp_path / "out") == []
    assert [name for name in os.listdir(tmp_path / "tmp") if name.startswith("edgeds")] == []
    assert with_variable(f"EDGEDS_MARK={mark}") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_being_ended_from_outside_leaves_no_files_behind(
    exported: Any, home: Path, cache: Path, tmp_path: Path, number: signal.Signals
) -> None:
    for name in ("out", "tmp"):
        (tmp_path / name).mkdir()
    process = started(home, cache, (*ALONE, "--out", str(tmp_path / "out" / "bundle")), TMPDIR=str(tmp_path / "tmp"))
    assert process.stderr is not None
    while "lower to executorch int8 ...\n" not in (line := process.stderr.readline()):
        assert line
    process.send_signal(number)
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (128 + number, "")
    assert f"edgeds: ended by {number.name}" in stderr and "Traceback" not in stderr
    assert os.listdir(tmp_path / "out") == []
    assert [name for name in os.listdir(tmp_path / "tmp") if name.startswith("edgeds")] == []


@pytest.mark.parametrize("force", [False, True])
def test_of_two_exports_into_one_place_the_bundle_is_whole(
    exported: Any, home: Path, cache: Path, tmp_path: Path, force: bool
) -> None:
    out = tmp_path / "out" / "bundle"
    arguments = (*CACHED, "--out", str(out), *(("--force",) if force else ()))
    both = [started(home, cache, arguments) for _ in range(2)]
    ends = [(process.communicate()[1].splitlines()[-1], process.returncode) for process in both]
    codes = sorted(code for _, code in ends)
    assert codes == ([0, 0] if force else [0, 2]), ends
    for line, code in ends:
        assert code == 0 or (line.startswith("edgeds: error: ") and "--force replaces it, or choose another" in line)
    assert len(open_bundle(out).manifest.artifacts) == 6
    assert os.listdir(out.parent) == ["bundle"]


@pytest.mark.parametrize(
    ("arguments", "limit_bytes", "code", "message"),
    [
        (CACHED, 8_000, 2, "was not written: File too large"),
        (ALONE, 1_000, 3, "File too large"),
    ],
    ids=["while copying", "while quantizing"],
)
def test_a_full_disk_is_one_line_and_leaves_no_part_of_a_bundle(
    exported: Any, call: Call, tmp_path: Path, arguments: tuple[str, ...], limit_bytes: int, code: int, message: str
) -> None:
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes}))"
    for name in ("out", "tmp"):
        (tmp_path / name).mkdir()
    done = call(*arguments, "--out", tmp_path / "out" / "bundle", env={"TMPDIR": str(tmp_path / "tmp")}, before=limit)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("edgeds: error: ") and message in done.stderr.splitlines()[-1]
    assert os.listdir(tmp_path / "out") == []
    assert [name for name in os.listdir(tmp_path / "tmp") if name.startswith("edgeds")] == []


def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere = {"EDGEDS_CACHE": str(tmp_path / "file" / "cache")}
    done = call(*CACHED, "--out", tmp_path / "bundle", env=nowhere)
    assert done.returncode == 3
    error = done.stderr.splitlines()[-1]
    assert error.startswith("edgeds: error: cannot make the cache: Not a directory: ")
    assert error.endswith("; set EDGEDS_CACHE to a writable folder")
    assert not (tmp_path / "bundle").exists()


def test_no_cache_needs_no_cache(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere = {"EDGEDS_CACHE": str(tmp_path / "file" / "cache")}
    options = [word for word in EXPORT.split() if word != "export"]
    done = call("quantize", *options, "--no-cache", "--out", tmp_path / "bundle", env=nowhere)
    assert done.returncode == 0, done.stderr
    assert open_bundle(tmp_path / "bundle").manifest.quantization


def test_ctrl_c_while_the_command_line_is_imported_is_one_line() -> None:
    script = (
        "import sys, types; module = types.ModuleType('edgeds.cli');"
        "module.__getattr__ = lambda name: (_ for _ in ()).throw(KeyboardInterrupt);"
        "sys.modules['edgeds.cli'] = module; import edgeds.__main__; edgeds.__main__.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "edgeds: interrupted\n")
