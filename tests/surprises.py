"""Whether an int8 artifact is what edgeds foretold of it: for tests of many models, and for the coverage bench."""

from __future__ import annotations

from collections.abc import Sequence

from edgeds.spec import Artifact, Compute, Format, Leftover, LeftoverKind

# XNNPACK computes channels last: it turns images at both ends.
AT_THE_ENDS = {Format.EXECUTORCH: 2, Format.ONNX: 0, Format.TFLITE: 0}


def transposes(artifact: Artifact) -> int:
    """How many operators inside of an artifact only turn images."""
    count = sum(o.count for o in artifact.operators if o.name.lower().endswith("transpose"))
    return max(0, count - AT_THE_ENDS[artifact.format])


def surprises(artifact: Artifact, foretold: Sequence[Leftover]) -> tuple[str, ...]:
    """A phrase for each kind of leftover that was foretold and is not there, or is there and was not."""
    kinds = {leftover.kind for leftover in foretold}
    found = {
        LeftoverKind.OUTSIDE: bool(artifact.outside) or artifact.delegates > 1,
        LeftoverKind.FLOAT: artifact.count(Compute.FLOAT32) > 0,
        LeftoverKind.TRANSPOSE: transposes(artifact) > 0,
    }
    return tuple(
        f"{kind} {'appeared' if there else 'did not appear'} in {artifact.format}"
        for kind, there in found.items()
        if there != (kind in kinds)
    )
