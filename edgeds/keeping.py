"""Latencies that are kept in a bundle: latency.json, and a section of its report.html. The bundle is written anew, in one atomic step."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from edgeds import devices
from edgeds.bundle import finish, open_bundle, write_bundle
from edgeds.drift.limits import judge
from edgeds.report.html import bundle_html
from edgeds.report.latency import latency_json
from edgeds.report.latency_html import latencies
from edgeds.results import Benchmark
from edgeds.spec import Bundle, Precision

NAME = "latency.json"
REPORT = "report.html"


def keep(bundle: Bundle, found: Benchmark) -> Bundle:
    """Writes `found` into `bundle`, in place of what was there of an earlier benchmark; returns the bundle as it is now.

    Raises BundleError where it cannot be written, and leaves it as it was.
    """
    manifest = bundle.manifest
    exceeded = judge(manifest.drift, tuple(Precision), manifest.limits) if manifest.artifacts else None
    profiles = {name: devices.load(name) for name in found.drift}
    with write_bundle(bundle.path, force=True) as folder:
        for name in manifest.files:
            if name not in (NAME, REPORT):
                _copy(bundle.path / name, folder / name)
        (folder / NAME).write_text(json.dumps(latency_json(found), indent=1) + "\n", encoding="utf-8")
        (folder / REPORT).write_text(bundle_html(manifest, exceeded, latencies(found, profiles)), encoding="utf-8")
        finish(folder, manifest)
    return open_bundle(bundle.path, verify=False)


def _copy(source: Path, target: Path) -> None:
    """The same file under another name where the file system has that, for it is never written to; else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copyfile(source, target)
