"""What the command line says of itself, without a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import edgeds as package

Call = Callable[..., subprocess.CompletedProcess[str]]
InProcess = Callable[..., tuple[int, str, str]]
COMMANDS = (
    "export",
    "quantize",
    "validate",
    "evaluate",
    "sensitivity",
    "bench",
    "emulate",
    "doctor",
    "models",
    "inspect",
)
LIGHT = "import sys; sys.argv[1:] = ARGUMENTS; from edgeds.cli import main\ntry: main()\nfinally: print(HEAVY & set(sys.modules))"
HEAVY = {
    "torch",
    "torchao",
    "executorch",
    "onnx",
    "onnxruntime",
    "litert_torch",
    "numpy.testing",
    "skimage",
}


@pytest.mark.parametrize("arguments", [["--help"], ["export", "--help"], ["--version"], []])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = LIGHT.replace("ARGUMENTS", repr(arguments)).replace("HEAVY", repr(HEAVY))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_benchmark_imports_nothing_heavy_before_it_starts_the_emulator() -> None:
    code = f"import sys, edgeds.pipeline, edgeds.cli_bench, edgeds.report.latency; print({HEAVY!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_help_names_every_command_and_the_exit_codes(call: Call) -> None:
    done = call("--help")
    assert done.returncode == 0
    assert all(f" {command} " in done.stdout for command in COMMANDS)
    assert "0 done, 1 a limit was exceeded or a layer is wrong, 2 what you gave cannot be used, 3 a tool" in done.stdout
    assert done.stdout.lstrip().startswith("Usage: edgeds ")  # not `python -m edgeds`: completion knows one name only


def test_without_arguments_it_helps(edgeds: InProcess) -> None:
    assert edgeds() == edgeds("--help")


def test_the_version_is_the_packages(edgeds: InProcess) -> None:
    assert edgeds("--version") == (0, f"edgeds {package.__version__}\n", "")


@pytest.mark.parametrize("command", ["bench", "emulate"])
def test_a_time_limit_is_called_alike_everywhere(edgeds: InProcess, command: str) -> None:
    out = edgeds(command, "--help")[1]
    assert "--time-limit" in out and "timeout" not in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_explained(edgeds: InProcess, command: str) -> None:
    code, out, _ = edgeds(command, "-h")
    options = [line.strip("│ ") for line in out.splitlines() if line.strip("│ *").startswith("--")]
    assert code == 0 and options
    assert all(len(line.split()) >= 4 for line in options), options


def test_the_zoo_is_listed(edgeds: InProcess) -> None:
    code, out, err = edgeds("models")
    content = json.loads(edgeds("models", "--json")[1])
    names = [row["name"] for row in content["models"]]
    assert (code, err) == (0, "")
    assert {"mobilenet_v2", "efficientnet_lite0", "ds_cnn"} < set(names)
    assert all(name in out for name in names)


def test_inspect_says_what_separability_saves(edgeds: InProcess) -> None:
    code, out, err = edgeds("inspect", "net.py:tiny", "--layers")
    assert (code, err) == (0, "a user's file that talks\n")
    assert "depthwise" in out and "pointwise" in out and "talks" not in out
    assert json.loads(edgeds("inspect", "net.py:tiny", "--json")[1])


def test_inspect_formats_says_what_is_left_in_each_format(edgeds: InProcess) -> None:
    code, out, err = edgeds("inspect", "net.py:tiny", "--formats")
    assert (code, err) == (0, "a user's file that talks\n")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "executorch 1 delegate, integers from end to end" in lines
    assert "tflite integers from end to end" in lines
    formats = json.loads(edgeds("inspect", "net.py:tiny", "--formats", "--json")[1])["formats"]
    assert {name: (one["integer"], one["leftovers"]) for name, one in formats.items()} == dict.fromkeys(
        ("executorch", "onnx", "tflite"), (True, [])
    )


def test_json_stands_alone_on_stdout_whatever_native_code_and_child_processes_print(home: Path) -> None:
    source = "import os\nfrom net import *\nos.write(1, b'native ')\nos.system('echo child')\n"
    (home / "loud.py").write_text(source)
    command = [str(Path(sys.executable).with_name("edgeds")), "inspect", "loud.py:tiny", "--json"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["model"]
    assert "native child" in done.stderr


def test_a_shell_gets_its_completion_script_and_completes_commands(home: Path) -> None:
    program = str(Path(sys.executable).with_name("edgeds"))
    script = {"_EDGEDS_COMPLETE": "source_bash"}
    done = subprocess.run([program], env={**os.environ, **script}, capture_output=True, text=True, check=False)
    assert "_EDGEDS_COMPLETE=complete_bash" in done.stdout and "complete " in done.stdout
    question = {"_EDGEDS_COMPLETE": "complete_bash", "COMP_WORDS": "edgeds ex", "COMP_CWORD": "1"}
    done = subprocess.run([program], env={**os.environ, **question}, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["export"]
    question |= {"COMP_WORDS": "edgeds export --calib", "COMP_CWORD": "2"}
    done = subprocess.run([program], env={**os.environ, **question}, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["--calibration"]


@pytest.mark.parametrize("format", [[], ["--json"]])
def test_a_reader_who_leaves_early_is_no_error(call: Call, format: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = call("models", *format, stdout=write)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_stdout_is_one_line(call: Call) -> None:
    with open("/dev/full", "w") as full:
        done = call("models", stdout=full)
    expected = "edgeds: error: cannot write the result to stdout: No space left on device; send it elsewhere\n"
    assert (done.returncode, done.stderr) == (3, expected)
