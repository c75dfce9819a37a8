from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeds.errors import ToolError
from edgeds.process import run_process
from edgeds.run import tflite_env


def test_the_environment_has_the_old_runtime_and_numpy_1(environments: Path) -> None:
    python = tflite_env.interpreter(environments)
    code = "import numpy; from importlib.metadata import version; print(numpy.__version__, version('tflite-runtime'))"
    assert run_process([str(python), "-I", "-c", code]).stdout.split() == ["1.26.4", "2.14.0"]


def test_a_complete_environment_is_not_built_again(environments: Path) -> None:
    marker = tflite_env.interpreter(environments).parents[1] / ".complete"
    before = marker.stat().st_mtime_ns
    tflite_env.interpreter(environments)
    assert marker.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["no marker", "other requirements", "no python"])
def test_an_environment_that_is_not_whole_is_not_used(tmp_path: Path, damage: str) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    (tmp_path / ".complete").write_text('["tflite-runtime==2.14.0", "numpy==1.26.4"]')
    assert tflite_env._is_complete(tmp_path)
    if damage == "no marker":
        (tmp_path / ".complete").unlink()
    elif damage == "other requirements":
        (tmp_path / ".complete").write_text('["tflite-runtime==2.5.0"]')
    else:
        (tmp_path / "bin" / "python").unlink()
    assert not tflite_env._is_complete(tmp_path)


def test_a_failing_pip_is_quoted_and_leaves_no_complete_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    with pytest.raises(
        ToolError, match=r"^installing tflite-runtime with pip failed .*ERROR: No matching distribution found"
    ):
        tflite_env.interpreter(tmp_path)
    assert not list(tmp_path.glob("*/.complete"))


def test_a_python_without_a_wheel_is_named_with_the_way_out() -> None:
    with pytest.raises(ToolError) as caught:
        tflite_env.find_base(["no-such-python"], this=(3, 12))
    assert str(caught.value) == (
        "no tflite-runtime wheel exists for Python 3.12; install python3.11 or read the LiteRT row"
    )


def test_a_python_without_venv_is_named_with_the_way_out() -> None:
    with pytest.raises(
        ToolError, match=r"Python 3\.11 lacks venv or ensurepip.*install python3\.11-venv or read the LiteRT row"
    ):
        tflite_env.find_base([], this=(3, 11))


def test_a_launcher_that_stands_for_nothing_or_for_a_newer_python_is_passed_over(tmp_path: Path) -> None:
    scripts = {"broken": "exit 127", "newer": "echo 3 12", "older": "echo 3 10"}
    for name, text in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    candidates = [str(tmp_path / name) for name in scripts]
    assert tflite_env.find_base(candidates) == (str(tmp_path / "older"), "3.10")


@pytest.mark.skipif(sys.version_info[:2] > (3, 11), reason="this Python has no tflite-runtime wheel")
def test_this_python_is_used_where_there_is_a_wheel_for_it() -> None:
    assert tflite_env.find_base()[0] == sys.executable
