"""`edgeds sensitivity`: which layers quantization costs most."""

from __future__ import annotations

from edgeds import cli_options as options
from edgeds import cli_outcome as outcome
from edgeds.cli_options import DataOptions, ModelOptions


@options.expand
def sensitivity(
    model: options.ModelRef,
    *,
    recipe: options.RecipeName = None,
    no_cache: options.NoCache = False,
    as_json: options.Json = False,
    the_model: ModelOptions,
    data: DataOptions,
) -> None:
    """Rank a model's layers by what quantizing each alone costs: its weights, the values that it hands on, and both, in dB."""
    how = options.recipe(recipe)
    from edgeds.report.sensitivity import sensitivity_json, sensitivity_report
    from edgeds.sensing import sensitivity

    with outcome.progress(as_json) as progress:
        loaded = options.with_preprocess(options.load(model, the_model), data)
        found = sensitivity(
            loaded, data.calibration, validation=data.validation, recipe=how, cache=not no_cache, progress=progress
        )
    if as_json:
        outcome.print_json(sensitivity_json(loaded.name, found))
    else:
        outcome.print_result(*sensitivity_report(loaded.name, found))
