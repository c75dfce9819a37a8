"""`edgeds evaluate`: the accuracy of a bundle on a labelled set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeds import cli_options as options
from edgeds import cli_outcome as outcome


def evaluate(
    bundle: options.BundlePath,
    *,
    data: Annotated[
        Path,
        typer.Option(
            help="A folder with a folder of images for each class, a .csv file of path,label, "
            "or a .npz file with inputs and labels.",
            metavar="PATH",
        ),
    ],
    limit: Annotated[
        int | None,
        typer.Option(help="Take so many samples of the data, evenly spaced.", metavar="N", show_default=False),
    ] = None,
    twin: Annotated[
        bool,
        typer.Option(
            "--twin",
            help="Run nothing: let the integer twin say what a phone or a Pi (ARM64) will answer in each runtime, bit for bit.",
        ),
    ] = False,
    no_cache: options.NoCache = False,
    as_json: options.Json = False,
) -> None:
    """Measure top-1 and top-5 accuracy on labelled data: the float model, and each artifact in its runtimes.

    What was run is kept in the cache: an evaluation that was interrupted goes on where it was.
    """
    from edgeds.evaluating import evaluate
    from edgeds.report.evaluation import evaluation_json, evaluation_report

    with outcome.progress(as_json) as progress:
        found = evaluate(bundle, data, limit=limit, by_twin=twin, cache=not no_cache, progress=progress)
    if as_json:
        outcome.print_json(evaluation_json(found))
    else:
        outcome.print_result(*evaluation_report(found))
