"""Latencies in a bundle: written anew in one step, with nothing else of it changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeds.bundle import open_bundle
from edgeds.errors import BundleError
from edgeds.keeping import NAME, REPORT, keep
from edgeds.results import Benchmark
from edgeds.spec import Bundle
from tests.report.test_latency_html import FOUND, PI_4
from tests.test_bundle import make, text_of


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return open_bundle(make(tmp_path / "net-edgeds"))


def test_a_bundle_with_latencies_is_whole_and_has_them_twice(bundle: Bundle) -> None:
    kept = keep(bundle, FOUND)
    assert text_of(bundle.path) == "one"  # verified, and all else as it was
    assert set(kept.manifest.files) == {*bundle.manifest.files, NAME, REPORT}
    content = json.loads((bundle.path / NAME).read_text())
    assert [latency["ms"] for latency in content["latencies"]] == [8.0, 20.0, 4.0]
    assert "4.00..12.0" in (bundle.path / REPORT).read_text()


def test_a_later_benchmark_takes_the_place_of_an_earlier_one(bundle: Bundle) -> None:
    later = Benchmark(FOUND.latencies[:1], {PI_4.name: ()}, (), "b" * 64)
    keep(keep(bundle, FOUND), later)
    open_bundle(bundle.path)
    assert len(json.loads((bundle.path / NAME).read_text())["latencies"]) == 1
    assert "20.0" not in (bundle.path / REPORT).read_text()


def test_a_bundle_that_cannot_be_replaced_is_left_as_it_was(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle.path)
    with pytest.raises(BundleError, match="is the folder that you are in"):
        keep(bundle, FOUND)
    assert open_bundle(bundle.path) == bundle
