from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest

from edgeds import folders
from edgeds.errors import ToolError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_temporary_folder_is_gone_afterwards_with_what_is_in_it(home: Path) -> None:
    with folders.temporary("edgeds-test-") as folder:
        (folder / "file").write_text("x")
        assert folder.parent == home and folder.name.startswith("edgeds-test-")
    assert list(home.iterdir()) == []


def test_ctrl_c_right_after_it_was_made_leaves_no_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Path.mkdir

    def interrupted(path: Path, mode: int) -> None:
        make(path, mode)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "mkdir", interrupted)
    with pytest.raises(KeyboardInterrupt), folders.temporary("edgeds-test-"):
        pass
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(("error", "left"), [(ToolError, 1), (ValueError, 0)])
def test_it_stays_for_the_one_exception_that_says_so(home: Path, error: type[Exception], left: int) -> None:
    with pytest.raises(error), folders.temporary("edgeds-log-", unless=ToolError):
        raise error("it failed")
    assert len(list(home.iterdir())) == left


def test_an_array_that_is_written_half_says_that_the_disk_is_full() -> None:
    known = folders.from_the_system(OSError("18432 requested and 7136 written"))
    assert (known.errno, known.strerror) == (errno.ENOSPC, "No space left on device")
    other = OSError("cannot identify image file")
    assert folders.from_the_system(other) is other
