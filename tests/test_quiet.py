"""What native code writes to stderr is kept off it, but for where that explains a failure."""

from __future__ import annotations

import os

import pytest

from edgeds.quiet import quiet_native_code


def test_native_code_is_quiet_and_stderr_is_as_before_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_native_code():
        os.write(2, b"INFO: created a delegate\n")
    os.write(2, b"behind\n")
    assert capfd.readouterr().err == "behind\n"


def test_what_was_written_before_a_failure_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no such tensor"), quiet_native_code():
        os.write(2, b"ERROR: tensor 7 is missing\n")
        raise ValueError("no such tensor")
    assert capfd.readouterr().err == "ERROR: tensor 7 is missing\n"
