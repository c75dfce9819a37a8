"""What `edgeds bench` refuses, in one line, before anything is emulated."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeds import cli_outcome
from edgeds.cli import app

MISTAKES = {
    "no device": ("bench out", "missing option '--device'"),
    "an unknown device": (
        "bench out --device raspbery-pi-4",
        "unknown device 'raspbery-pi-4'; did you mean raspberry-pi-4? choose from galaxy-a03-core, oneplus-nord-2, pixel-2",
    ),
    "an empty list": ("bench out --device ,", "--device is empty; choose from galaxy-a03-core"),
    "one of two": ("bench out --device raspberry-pi-4,nokia-3310", "unknown device 'nokia-3310'; choose from"),
    "an iPhone": (
        "bench out --device iphone-15",
        "iphone-15 can be exported for, but not estimated: its apple-a16 has no pipeline; those that have one are cortex-a53",
    ),
    "an iPhone at the end of an export": (
        "export ds_cnn --device iphone-15",
        "iphone-15 can be exported for, but not estimated",
    ),
    "a runtime": (
        "bench out --device pixel-4 --runtime tensorrt",
        "unknown --runtime 'tensorrt'; choose from executorch",
    ),
    "a precision": (
        "bench out --device pixel-4 --precision int4",
        "unknown --precision 'int4'; choose from int8, fp32",
    ),
    "threads": (
        "bench out --device pixel-4 --threads four",
        "cannot read --threads 'four'; give whole numbers like 1,4",
    ),
    "a time limit": ("bench out --device pixel-4 --time-limit 0", "invalid value for '--time-limit'"),
    "a bundle": ("bench none-edgeds --device pixel-4", "give the folder that `edgeds export` made"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_the_choices(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEDS_CACHE", str(tmp_path / "cache"))
    command, message = MISTAKES[mistake]
    code = cli_outcome.run(app, command.split())
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("edgeds: error: ")]
    assert (code, out, len(lines)) == (2, "", 1)
    assert message in lines[0]
