"""`edgeds devices`, `edgeds emulate` and `edgeds doctor`, as users call them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeds import devices
from edgeds.emulator.image import Image
from tests.emulator.programs import BEGIN, END, count_down, leave, mark, write

THREADS = """
import contextlib, os, threading

def mark(code):
    with contextlib.suppress(OSError):
        os.getpgid(0x51D0000 | code)

worker = threading.Thread(target=sum, args=(range(100_000),))
mark(1)
worker.start()
worker.join()
mark(2)
"""
InProcess = Callable[..., tuple[int, str, str]]

# with the helper that `edgeds emulate --help` and README show
SCRIPT = """
import contextlib, os, sys


def mark(code):
    with contextlib.suppress(OSError): os.getpgid(0x51D0000 | code)


total = 0
for code in (3, 1):
    mark(code)
    for k in range(int(sys.argv[1])):
        total += k
mark(2)
print("the script's sum", total)
"""


def test_the_devices_are_listed(edgeds: InProcess) -> None:
    code, out, err = edgeds("devices", "list")
    listed = json.loads(edgeds("devices", "list", "--json")[1])["devices"]
    assert (code, err) == (0, "")
    assert [one["name"] for one in listed] == list(devices.names())
    assert all(name in out for name in devices.names())


def test_the_help_of_emulate_has_the_marks(edgeds: InProcess) -> None:
    out = " ".join(edgeds("emulate", "--help")[1].split())
    assert "os.getpgid(0x51D0000 | code)" in out and "syscall(SYS_getpgid, 0x51D0000 | code)" in out


@pytest.mark.emulator
def test_a_script_s_region_is_estimated_and_its_output_does_not_mix_with_the_result(
    edgeds: InProcess, image: Image, home: Path
) -> None:
    (home / "script.py").write_text(SCRIPT)
    call = ("emulate", "--device", "raspberry-pi-5", "--json", "--", "script.py", "2000")
    code, out, err = edgeds(*call)
    found = json.loads(out)
    assert (code, err) == (0, f"the script's sum {2 * sum(range(2000))}\n")
    assert (found["image"], found["subject"], found["device"]) == (image.digest, "script.py", "raspberry-pi-5")
    assert 20 * 2000 < found["instructions"] < 1000 * 2000  # of an interpreter, for an addition
    assert found["low_ms"] < found["ms"] < found["high_ms"]
    assert {one["library"] for one in found["kernels"]} >= {"python3.11"}


@pytest.mark.emulator
def test_a_program_s_hot_function_is_named(edgeds: InProcess, image: Image, home: Path) -> None:
    write(home / "program", [*mark(BEGIN), *count_down(50_000), *mark(END), *leave()], "hot_loop")
    code, out, _ = edgeds("emulate", "--device", "raspberry-pi-4", "program")
    assert code == 0
    assert "100 k instructions" in out
    (row,) = (line for line in out.splitlines() if "hot_loop" in line)
    assert row.split()[4:] == ["hot_loop", "program"]


@pytest.mark.emulator
def test_each_of_several_regions_is_labelled(edgeds: InProcess, image: Image, home: Path) -> None:
    first, second = ([*mark(BEGIN), *count_down(n), *mark(END)] for n in (1000, 3000))
    write(home / "twice", [*first, *count_down(9), *second, *leave()])
    found = json.loads(edgeds("emulate", "--device", "raspberry-pi-4", "--json", "twice")[1])
    own = [one["instructions"] for one in found["regions"]]
    assert [one["subject"] for one in found["regions"]] == ["region 1", "region 2"]
    assert own[1] - own[0] == 2 * 2000
    assert found["n_regions"] == 2 and found["instructions"] == sum(own) / 2
    out = edgeds("emulate", "--device", "raspberry-pi-4", "twice")[1]
    labels = [line.partition(": ")[0] for line in out.splitlines() if "emulated" in line]
    assert labels == ["region 1", "region 2", "the average of 2 regions"]


@pytest.mark.emulator
@pytest.mark.parametrize("code", [[], mark(BEGIN)], ids=["no mark", "no end"])
def test_a_program_without_a_whole_region_is_told_about_marks(
    edgeds: InProcess, image: Image, home: Path, code: list[int]
) -> None:
    write(home / "unmarked", [*code, *count_down(5), *leave()])
    status, out, err = edgeds("emulate", "--device", "raspberry-pi-4", "unmarked")
    assert (status, out) == (2, "")
    assert err.splitlines()[-1] == (
        "edgeds: error: unmarked marked no region that ended: it made no mark 1, or no mark 2 behind it before it ended; "
        "see `edgeds emulate --help` for the marks"
    )


def test_emulate_takes_one_device(edgeds: InProcess) -> None:
    code, _, err = edgeds("emulate", "--device", "raspberry-pi-4,raspberry-pi-5", "program")
    said = "--device 'raspberry-pi-4,raspberry-pi-5' names several devices; emulate runs on one: call it once for each"
    assert (code, err) == (2, f"edgeds: error: {said}\n")


@pytest.mark.emulator
def test_threads_at_once_are_refused_for_they_lose_counts(edgeds: InProcess, image: Image, home: Path) -> None:
    (home / "threads.py").write_text(THREADS)
    code, out, err = edgeds("emulate", "--device", "raspberry-pi-4", "threads.py")
    assert (code, out) == (2, "")
    assert "several threads ran at once in the marked region, which loses counts" in err.splitlines()[-1]


@pytest.mark.emulator
def test_a_program_that_fails_is_one_line(edgeds: InProcess, image: Image, home: Path) -> None:
    write(home / "failing", leave(9))
    code, out, err = edgeds("emulate", "--device", "raspberry-pi-4", "failing")
    assert (code, out) == (3, "")
    assert err.splitlines()[-1].startswith("edgeds: error: failing failed with exit code 9: ")


@pytest.mark.parametrize("program", ["/bin/sh", "labels.txt"])
def test_what_is_no_arm64_program_is_refused(edgeds: InProcess, program: str) -> None:
    code, _, err = edgeds("emulate", "--device", "raspberry-pi-4", program)
    assert (code, err) == (2, f"edgeds: error: {program} is no ARM64 program for Linux, nor a Python script (.py)\n")


def test_a_program_that_is_not_there_and_an_unknown_device_are_refused(edgeds: InProcess) -> None:
    assert "no such program 'nothing'" in edgeds("emulate", "--device", "raspberry-pi-4", "nothing")[2]
    code, _, err = edgeds("emulate", "--device", "raspberry-pi-44", "nothing")
    assert code == 2
    assert "unknown device 'raspberry-pi-44'; did you mean raspberry-pi-4?" in err


def test_the_doctor_says_what_is_missing_and_what_to_do(
    edgeds: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEDS_CACHE", str(tmp_path))
    code, out, err = edgeds("doctor")
    assert code == 3
    assert "missing: make it with: edgeds devices setup" in out
    assert err == "edgeds: error: missing: emulator; the table says what to do\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("cache", "said"),
    [("a-file", "cannot make the cache: "), ("a-file/below", "cannot make the cache: ")],
)
def test_the_doctor_shows_the_rest_where_the_cache_cannot_be_used(
    edgeds: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str, said: str
) -> None:
    (tmp_path / "a-file").write_text("in the way")
    monkeypatch.setenv("EDGEDS_CACHE", str(tmp_path / cache))
    code, out, err = edgeds("doctor", "--json")
    found = {one["name"]: one for one in json.loads(out)["findings"]}
    assert code == 3
    assert found["cache"]["missing"].startswith(said)
    assert found["cache"]["missing"].endswith("; set EDGEDS_CACHE to a writable folder")
    assert found["onnxruntime"]["version"] and not found["onnxruntime"]["missing"]
    assert {"tflite-runtime", "emulator", "emulator/apt-get", "emulator/Debian archive"} < set(found)
    assert "edgeds: error: missing: cache, " in err


@pytest.mark.emulator
def test_the_doctor_shows_the_image_s_versions_and_sizes(edgeds: InProcess, image: Image) -> None:
    code, out, err = edgeds("doctor", "--json")
    found = {one["name"]: one for one in json.loads(out)["findings"]}
    assert (code, err) == (0, "")
    assert found["emulator"]["version"] == f"image {image.digest[:12]}"
    assert {"cache", "executorch", "tflite-runtime", "emulator/qemu-user", "emulator/numpy"} < set(found)
    assert " MB" in found["emulator"]["note"]


@pytest.mark.emulator
def test_a_set_up_that_is_done_says_where_the_image_is(edgeds: InProcess, image: Image) -> None:
    code, out, err = edgeds("devices", "setup")
    assert (code, err) == (0, "")
    assert image.digest[:12] in out and image.path.name in out.replace("\n", "")
