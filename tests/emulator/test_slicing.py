"""Where a runtime begins an operator, in libraries of a few instructions."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeds.emulator import slicing
from edgeds.emulator.image import Image
from edgeds.spec import Runtime
from tests.emulator.programs import leave, set_register, write

LIBRARY = "usr/local/lib/executorch/libexecutorch_backend_xnnpack.so"
CODE_AT = 4096  # in the files that tests.emulator.programs writes
BACK, FORWARD = 0x97FF_FFFF, 0x9400_0003  # bl to 4 bytes before, and to 12 bytes behind


def image(tmp_path: Path, code: list[int], function: str) -> Image:
    path = tmp_path / "guest" / LIBRARY
    path.parent.mkdir(parents=True)
    write(path, code, function)
    return Image(tmp_path, "", ())


@pytest.mark.parametrize(
    ("call", "target"), [(FORWARD, CODE_AT + 4 + 12), (BACK, CODE_AT + 4 - 4)], ids=["behind", "before"]
)
def test_what_a_loop_over_operators_calls_first_begins_one(tmp_path: Path, call: int, target: int) -> None:
    code = [set_register(0, 1), call, FORWARD, *leave()]
    found = slicing.slices(image(tmp_path, code, "xnn_invoke_runtime"), Runtime.EXECUTORCH)
    assert found == f"{target}:libexecutorch_backend_xnnpack.so"


@pytest.mark.parametrize(("code", "function"), [([FORWARD], "another"), ([set_register(0, 1)], "xnn_invoke_runtime")])
def test_a_library_without_that_function_or_call_shows_no_operators(
    tmp_path: Path, code: list[int], function: str
) -> None:
    assert slicing.slices(image(tmp_path, code, function), Runtime.EXECUTORCH) is None


def test_onnxruntime_s_profiler_reads_the_clock(tmp_path: Path) -> None:
    assert slicing.slices(Image(tmp_path, "", ()), Runtime.ONNXRUNTIME) == "clock"
