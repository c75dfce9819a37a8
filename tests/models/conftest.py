"""What the tests of load_model share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeds.errors import EdgedsError
from edgeds.models import load_model


@pytest.fixture
def refused() -> Callable[..., str]:
    """refused(ERROR, REF, **options): the message of the error that loading raises; it must be one line."""

    def message(kind: type[EdgedsError], ref: str, /, **options: object) -> str:
        with pytest.raises(kind) as e:
            load_model(ref, **options)  # type: ignore[arg-type]  # wrong arguments are what is tested
        assert "\n" not in str(e.value)
        assert len(str(e.value)) < 500
        return str(e.value)

    return message


@pytest.fixture
def package_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path; what is imported from it is forgotten after the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("torchvision", "timm", "my_package"):
            del sys.modules[name]
