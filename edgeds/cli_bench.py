"""`edgeds bench`: the latency of a bundle's artifacts on devices that nobody has to own."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeds import cli_options as options
from edgeds import cli_outcome as outcome
from edgeds.errors import InputError, LimitError
from edgeds.results import Benchmark
from edgeds.spec import Bundle, Precision, QuantizedModel, Runtime

Devices = Annotated[str, typer.Option("--device", help="Names that `edgeds devices list` shows.", metavar="LIST")]


def bench(
    bundle: options.BundlePath,
    *,
    device: Devices,
    runtime: Annotated[
        str | None, typer.Option(help=f"{', '.join(Runtime)}; default: all that the bundle has.", metavar="LIST")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="int8, fp32 or both; default: all that the bundle has.", metavar="LIST")
    ] = None,
    threads: Annotated[str, typer.Option(help="One is emulated, more are projected from it.", metavar="LIST")] = "1",
    time_limit_s: options.TimeLimit = 1800.0,
    kernels: Annotated[bool, typer.Option("--kernels", help="Which functions take the time.")] = False,
    layers: Annotated[bool, typer.Option("--layers", help="How long each layer takes; emulates once more.")] = False,
    save: Annotated[
        bool, typer.Option("--save", help="Keep it in the bundle: latency.json, and in report.html.")
    ] = False,
    no_cache: options.NoCache = False,
    as_json: options.Json = False,
) -> None:
    """Estimate how long each artifact takes on a device, from running it there under emulation, and check its answers.

    The first use assembles what devices are emulated with, about 200 MB in the cache, without root.
    """
    names = device_names(device)
    runtimes = None if runtime is None else options.names(Runtime, "--runtime", runtime)
    precisions = None if precision is None else options.names(Precision, "--precision", precision)
    counts = _counts(threads)
    from edgeds import pipeline
    from edgeds.report.latency import latency_json

    with outcome.progress(as_json) as progress:
        found = pipeline.bench(
            bundle,
            names,
            runtimes=runtimes,
            precisions=precisions,
            threads=counts,
            time_limit_s=time_limit_s,
            layers=layers,
            save=save,
            cache=not no_cache,
            progress=progress,
        )
    if as_json:
        outcome.print_json(latency_json(found))
    else:
        print_latencies(found, names, kernels)
    if found.violations:
        raise LimitError(f"limits exceeded on devices: {'; '.join(found.violations)}")


def device_names(text: str) -> tuple[str, ...]:
    """`raspberry-pi-4,pixel-4` → the names, each of a device that can be estimated. Raises InputError for another."""
    from edgeds import devices

    found = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not found:
        raise InputError(f"--device is empty; choose from {', '.join(devices.names())}")
    for name in found:
        devices.load(name)
    return found


def estimable_names(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names in `text` of devices to estimate, and a sentence for each that can only be exported for. InputError for unknown ones."""
    from edgeds import devices

    cores = devices.unestimable()
    found = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    alone = [name for name in found if name in cores]
    told = tuple(f"{name} is exported for, but not estimated: its {cores[name]} has no pipeline here" for name in alone)
    rest = [name for name in found if name not in cores]
    return device_names(",".join(rest)) if rest or not alone else (), told


def bench_exported(
    bundle: Bundle, names: tuple[str, ...], whole: QuantizedModel | None, cache: bool, quiet: bool
) -> tuple[Bundle, Benchmark]:
    """Benches a bundle that was just exported, and keeps that in it: the bundle as it is now, and what was found.

    Where it has layers in float, `whole` is the same model without.
    """
    from edgeds import keeping, pipeline, weighing

    with outcome.progress(quiet=quiet) as progress:
        found = pipeline.bench(bundle, names, cache=cache, progress=progress)
        if whole is not None:
            found = weighing.weighed(bundle, found, whole, names, cache=cache, progress=progress)
        return keeping.keep(bundle, found), found


def print_latencies(found: Benchmark, names: tuple[str, ...], kernels: bool = False) -> None:
    """The report, a table for each device of `names`."""
    from edgeds import devices
    from edgeds.report.latency import latency_report

    outcome.print_result(*latency_report(found, [devices.load(name) for name in names], kernels))


def _counts(text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise InputError(f"cannot read --threads {text!r}; give whole numbers like 1,4") from None
