"""What stands in a bundle besides its artifacts: the references, samples, labels, the agent, the report, and the manifest's content."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import edgeds
from edgeds import reference
from edgeds.report.html import bundle_html
from edgeds.run import host
from edgeds.spec import (
    MANIFEST_SCHEMA_VERSION,
    Artifact,
    DriftLimits,
    FloatModel,
    Manifest,
    QuantizedModel,
    Validation,
)
from edgeds.validation import References


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """All that a bundle says."""

    source: FloatModel
    quantized: QuantizedModel | None
    artifacts: tuple[Artifact, ...]
    validation: Validation
    references: References
    limits: DriftLimits


def fill(folder: Path, content: Content) -> Manifest:
    """Writes everything but the artifacts and manifest.json into `folder`; the manifest comes without its files."""
    quantized = content.quantized
    reference.write_programs(folder, content.source, quantized.graph if quantized else None)
    reference.write_samples(folder, content.source.validation, content.references.outputs)
    if labels := content.source.card.labels:
        (folder / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
    shutil.copyfile(host.AGENT, folder / "agent.py")
    manifest = _manifest(content)
    (folder / "report.html").write_text(bundle_html(manifest, content.validation.violations), encoding="utf-8")
    return manifest


def _manifest(content: Content) -> Manifest:
    source, quantized, validation = content.source, content.quantized, content.validation
    return Manifest(
        schema_version=MANIFEST_SCHEMA_VERSION,
        edgeds_version=edgeds.__version__,
        model=source.card,
        recipe=quantized.recipe.name if quantized else None,
        calibration=quantized.calibration if quantized else None,
        validation=validation.data,
        quantization=quantized.tensors if quantized else (),
        artifacts=content.artifacts,
        drift=validation.drift,
        limits=content.limits,
        warnings=tuple(dict.fromkeys((*source.warnings, *validation.warnings))),
        files={},
        runtimes=validation.runtimes,
        seeded=source.seeded,
    )
