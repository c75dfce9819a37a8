"""The command line: parses, calls the pipeline, and shows what came out. Only it and edgeds.cli_outcome print or exit."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from edgeds import __version__, cli_bench, cli_devices
from edgeds import cli_options as options
from edgeds import cli_outcome as outcome
from edgeds.cli_evaluate import evaluate
from edgeds.cli_options import DataOptions, LimitOptions, ModelOptions, OutputOptions
from edgeds.cli_sensitivity import sensitivity
from edgeds.errors import InputError, LimitError
from edgeds.recipe import Recipe
from edgeds.spec import Bundle, FloatModel, Format, Precision, QuantizedModel, TfliteIo

if TYPE_CHECKING:
    from edgeds.explain import Explanation
    from edgeds.progress import Progress

SUMMARY = (
    "Quantize a separable-convolution PyTorch model once, export it to ExecuTorch, ONNX and TFLite, "
    "and prove what arrives."
)
EXIT_CODES = (
    "Exit codes: 0 done, 1 a limit was exceeded or a layer is wrong, 2 what you gave cannot be used, 3 a tool or library is missing "
    "or a program in the emulator failed, 70 a bug in edgeds, 130 interrupted."
)

app = typer.Typer(
    name="edgeds",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cli_devices.app, name="devices")


def main() -> NoReturn:
    """Runs the command line. An error that edgeds raises on purpose is one line on stderr and its own exit code."""
    with outcome.ended_by_signals():
        sys.exit(outcome.run(app, sys.argv[1:] or ["--help"]))


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"edgeds {__version__}")
        raise typer.Exit


@app.callback(help=SUMMARY, epilog=EXIT_CODES)
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Only `--version`."""


@app.command(epilog=EXIT_CODES)
@options.expand
def export(
    model: options.ModelRef,
    *,
    format: Annotated[str, typer.Option(help="Which files to make.", metavar="LIST")] = ",".join(Format),
    precision: Annotated[str, typer.Option(help="int8, fp32 or both.", metavar="LIST")] = Precision.INT8.value,
    tflite_io: Annotated[
        str, typer.Option(help="What an int8 .tflite takes and gives: int8 or float.", metavar="TYPE")
    ] = TfliteIo.INT8.value,
    recipe: options.RecipeName = None,
    keep_float: options.KeepFloat = None,
    output: OutputOptions,
    device: Annotated[
        str | None,
        typer.Option(help="Estimate latencies on these devices, kept in the bundle; see `bench`.", metavar="LIST"),
    ] = None,
    no_cache: options.NoCache = False,
    as_json: options.Json = False,
    the_model: ModelOptions,
    data: DataOptions,
    limit: LimitOptions,
) -> None:
    """Quantize a model once, lower it to every format, validate each artifact, and write a bundle.

    MODEL may also be a bundle that `edgeds quantize` wrote.
    """
    formats = options.names(Format, "--format", format)
    precisions = options.names(Precision, "--precision", precision)
    io = options.one_name(TfliteIo, "--tflite-io", tflite_io)
    int8 = Precision.INT8 in precisions
    options.check_int8_options(int8, Format.TFLITE in formats, recipe, io, keep_float)
    how = options.recipe(recipe)
    out = _out(model, output)
    options.limits(limit)  # a wrong one is said before the work
    devices, not_estimated = cli_bench.estimable_names(device) if device else ((), ())
    from edgeds import pipeline

    whole = None
    with outcome.progress(as_json) as progress:
        for sentence in not_estimated:
            progress.warn(sentence)
        source = _source(model, the_model, data, how, keep_float, int8, not no_cache, progress, formats)
        if devices and isinstance(source, QuantizedModel) and source.recipe.kept_float:
            whole = _all_int8(model, the_model, data, source.recipe, not no_cache, progress)
        bundle = pipeline.export(
            source,
            out,
            formats=formats,
            precisions=precisions,
            limits=options.limits(limit, pipeline.default_limits(source)),
            tflite_io=io,
            force=output.force,
            cache=not no_cache,
            progress=progress,
        )
    _show_bundle(bundle, as_json, devices=devices, whole=whole, cache=not no_cache)


@app.command(epilog=EXIT_CODES)
@options.expand
def quantize(
    model: options.ModelRef,
    *,
    recipe: options.RecipeName = None,
    keep_float: options.KeepFloat = None,
    output: OutputOptions,
    no_cache: options.NoCache = False,
    as_json: options.Json = False,
    the_model: ModelOptions,
    data: DataOptions,
    limit: LimitOptions,
) -> None:
    """Quantize a model and save it as a bundle without artifacts, for `edgeds export BUNDLE` later."""
    how = options.recipe(recipe)
    out = _out(model, output)
    options.limits(limit)  # a wrong one is said before the work
    from edgeds import pipeline

    with outcome.progress(as_json) as progress:
        source = _source(model, the_model, data, how, keep_float, True, not no_cache, progress)
        assert isinstance(source, QuantizedModel)
        limits = options.limits(limit, pipeline.default_limits(source))
        bundle = pipeline.save_quantized(
            source, out, limits=limits, force=output.force, cache=not no_cache, progress=progress
        )
    _show_bundle(bundle, as_json)


@app.command(epilog=EXIT_CODES)
@options.expand
def validate(
    bundle: options.BundlePath,
    *,
    data: Annotated[
        str | None,
        typer.Option(
            help="New images or inputs to measure drift on. Without it: the samples in the bundle.", metavar="PATH"
        ),
    ] = None,
    layers: Annotated[
        bool,
        typer.Option(
            "--layers", help="Show what each layer adds to the final error of the int8 artifacts, and which is wrong."
        ),
    ] = False,
    as_json: options.Json = False,
    limit: LimitOptions,
) -> None:
    """Check every file of a bundle, run its artifacts again, and judge their drift."""
    from edgeds import pipeline
    from edgeds.bundle import open_bundle

    with outcome.progress(as_json) as progress:
        opened = open_bundle(bundle)
        limits = options.limits(limit, opened.manifest.limits)
        found = pipeline.validate(opened, data, limits=limits, progress=progress)
        explanations = pipeline.explain(opened, data, progress=progress) if layers else ()
    from dataclasses import replace

    manifest = replace(
        opened.manifest,
        drift=found.drift,
        validation=found.data,
        limits=limits,
        runtimes=found.runtimes,
        warnings=found.warnings,
    )
    _show_bundle(Bundle(bundle, manifest), as_json, explanations=explanations)


app.command(epilog=EXIT_CODES)(evaluate)
app.command(epilog=EXIT_CODES)(cli_bench.bench)
app.command(epilog=EXIT_CODES)(sensitivity)


@app.command()
def models(as_json: options.Json = False) -> None:
    """List the zoo."""
    from edgeds.report import inspection

    if as_json:
        outcome.print_json(inspection.zoo_json())
    else:
        outcome.print_result(inspection.zoo_table())


@app.command(epilog=EXIT_CODES)
@options.expand
def inspect(
    model: options.ModelRef,
    *,
    layers: Annotated[bool, typer.Option("--layers", help="A row for each layer.")] = False,
    formats: Annotated[
        bool, typer.Option("--formats", help="What int8 artifacts will leave in float, transposed or slow.")
    ] = False,
    as_json: options.Json = False,
    the_model: ModelOptions,
) -> None:
    """Show parameters and MACs, the share of depthwise and pointwise work, and what separability saves."""
    from edgeds.forecast import forecast
    from edgeds.models.complexity import model_complexity
    from edgeds.report import inspection

    with outcome.progress(quiet=True) as progress:
        loaded = options.load(model, the_model)
        found = model_complexity(loaded)
        forecasts, warnings = forecast(loaded) if formats else ((), ())
        for warning in warnings:
            progress.warn(warning)
    if as_json:
        outcome.print_json(inspection.inspection_json(loaded.name, found, forecasts))
    else:
        outcome.print_result(inspection.inspection_table(loaded.name, found, layers, forecasts))


app.command(epilog=EXIT_CODES)(cli_devices.emulate)
app.command(epilog=EXIT_CODES)(cli_devices.doctor)


def _source(
    ref: str,
    chosen: ModelOptions,
    data: DataOptions,
    recipe: Recipe | None,
    keep_float: str | None,
    int8: bool,
    cache: bool,
    progress: Progress,
    formats: Sequence[Format] = (),
) -> QuantizedModel | FloatModel:
    """What the export starts from: a saved quantized model, or a model that is quantized (or only captured) now."""
    kept = options.kept_float(keep_float)
    from edgeds import pipeline

    if (Path(ref) / "manifest.json").is_file():
        how = {"--recipe": recipe, "--keep-float": keep_float}
        if given := (*options.given(chosen), *options.given(data), *(flag for flag, value in how.items() if value)):
            raise InputError(
                f"{given[0]} is for a model, but {ref} is a bundle, which is quantized already; "
                "leave it out, or give the model that the bundle was made from"
            )
        return pipeline.load_quantized(ref)
    model = options.with_preprocess(options.load(ref, chosen), data)
    if not int8:
        return pipeline.capture(model, data.calibration, validation=data.validation, formats=formats, progress=progress)
    return pipeline.quantize(
        model,
        data.calibration,
        validation=data.validation,
        recipe=recipe or Recipe(),
        keep_float=kept,
        formats=formats,
        cache=cache,
        progress=progress,
    )


def _all_int8(
    ref: str, chosen: ModelOptions, data: DataOptions, mixed: Recipe, cache: bool, progress: Progress
) -> QuantizedModel | None:
    """The same model without layers in float, to be compared; None where it is a bundle, which cannot be quantized again."""
    if (Path(ref) / "manifest.json").is_file():
        progress.warn(
            f"what the layers in float cost is not said: the bundle {ref} has no calibration data to quantize them with; "
            "give the model that it was made from"
        )
        return None
    whole = _source(ref, chosen, data, Recipe(mixed.integers), None, True, cache, progress)
    assert isinstance(whole, QuantizedModel)
    return whole


def _out(ref: str, output: OutputOptions) -> Path:
    """Where the bundle goes; refused before minutes of work if it cannot go there."""
    from edgeds.bundle import check_writable

    name = re.sub(r"[^\w.-]+", "-", Path(ref.rpartition(":")[2] or ref).stem).strip(".-") or "model"
    out = output.out or Path(f"{name}-edgeds")
    check_writable(out, output.force)
    return out


def _show_bundle(
    bundle: Bundle,
    as_json: bool,
    *,
    explanations: Sequence[Explanation] = (),
    devices: tuple[str, ...] = (),
    whole: QuantizedModel | None = None,
    cache: bool = True,
) -> None:
    """Prints the report, with its layers where they are explained and latencies on `devices`, also against those of `whole`; raises LimitError where a limit was exceeded or a layer is wrong."""
    from edgeds import pipeline
    from edgeds.report.json_report import bundle_json
    from edgeds.report.latency import latency_json
    from edgeds.report.layers import layer_tables, layers_json
    from edgeds.report.terminal import bundle_report, judgement

    found = None
    if devices:
        bundle, found = cli_bench.bench_exported(bundle, devices, whole, cache, quiet=as_json)
    exceeded = pipeline.violations(bundle)
    wrong = [said for explanation in explanations for said in explanation.wrong]
    content = bundle_json(bundle, exceeded if bundle.manifest.artifacts else None) if as_json else {}
    if as_json and explanations:
        content["layers"] = layers_json(explanations)
    if not as_json:
        judged = judgement(exceeded, bundle.manifest.limits, bundle.manifest.drift)
        outcome.print_result(*bundle_report(bundle), *layer_tables(explanations), judged)
    if found:
        exceeded += found.violations
        if as_json:
            content["latency"] = latency_json(found)
        else:
            cli_bench.print_latencies(found, devices)
    if as_json:
        outcome.print_json(content)
    counts = [
        f"{len(said)} {what}{'s' * (len(said) > 1)} {fault}"
        for said, what, fault in ((exceeded, "limit", "exceeded"), (wrong, "layer", "wrong"))
        if said
    ]
    if counts:
        # on a terminal they stand right above
        which = "" if sys.stdout.isatty() and not as_json else f": {'; '.join((*exceeded, *wrong))}"
        raise LimitError(f"{', '.join(counts)}{which}")
