"""What layers in float gain and cost: the same model with all of them in int8, exported beside it and run on the same emulated devices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from edgeds import folders, pipeline
from edgeds.progress import Progress
from edgeds.results import Benchmark, FloatCost
from edgeds.spec import Bundle, Precision, QuantizedModel


def weighed(
    bundle: Bundle,
    found: Benchmark,
    whole: QuantizedModel,
    device_names: Sequence[str],
    *,
    cache: bool = True,
    progress: Progress | None = None,
) -> Benchmark:
    """`found`, of a bundle with layers in float, with what these cost. `whole` is the same model with all layers in int8.

    It is exported to the formats of the bundle's int8 artifacts in a folder that is gone afterwards. Raises what `edgeds.export` and
    `edgeds.bench` do.
    """
    formats = [artifact.format for artifact in bundle.manifest.artifacts if artifact.precision is Precision.INT8]
    with folders.temporary("edgeds-whole-") as folder:
        plain = pipeline.export(whole, folder / "bundle", formats=formats, cache=cache, progress=progress)
        against = pipeline.bench(plain, device_names, cache=cache, progress=progress)
        return replace(found, float_costs=tuple(_costs(bundle, found, plain, against)))


def _costs(bundle: Bundle, found: Benchmark, plain: Bundle, against: Benchmark) -> Iterator[FloatCost]:
    """One for each int8 artifact in each runtime on each device, with one thread."""
    others = {(latency.subject, latency.device): latency for latency in against.latencies}
    decibels, whole_decibels = _decibels(bundle), _decibels(plain)
    for latency in found.latencies:
        key = latency.subject, latency.device
        if latency.threads == 1 and key in others and latency.subject in decibels:
            dbs = decibels[latency.subject], whole_decibels[latency.subject]
            yield FloatCost(*key, *dbs, latency.ms, others[key].ms)


def _decibels(bundle: Bundle) -> dict[str, float]:
    """SQNR of each artifact in each runtime against the float model, on the validation samples."""
    return {report.subject: report.sqnr_db for report in bundle.manifest.drift if report.reference == "float"}
