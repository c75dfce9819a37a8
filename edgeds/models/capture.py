"""Model → Program: the PyTorch module as a static graph of ATen operators."""

from __future__ import annotations

import re
import traceback
import warnings
from typing import TYPE_CHECKING

from edgeds import program as programs
from edgeds.errors import ModelError
from edgeds.spec import Model, ModelCard, Program

if TYPE_CHECKING:
    import torch


def capture(model: Model) -> Program:
    """The float program of a model, for its input shapes. Raises ModelError that names the user's line where it cannot be exported."""
    import torch

    inputs = tuple(torch.zeros(shape) for shape in model.input_shapes)
    _try_forward(model, inputs)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch.export warns of its own deprecations
            exported = torch.export.export(model.module, inputs)
            module = exported.module(check_guards=False)
    except Exception as error:  # torch.export raises many kinds, none of them public
        raise ModelError(f"torch.export cannot export {model.name}: {_first_line(error)}{_user_line(error)}; {_advice(error)}") from error
    return programs.from_graph_module(module, model.input_shapes)


def card(model: Model, program: Program) -> ModelCard:
    """What a bundle says of the model."""
    return ModelCard(
        name=model.name,
        weights=model.weights,
        parameters=sum(parameter.numel() for parameter in model.module.parameters()),
        input_shapes=model.input_shapes,
        output_shapes=programs.output_shapes(program),
        preprocess=model.preprocess,
        labels=model.labels,
    )


def _try_forward(model: Model, inputs: tuple[torch.Tensor, ...]) -> None:
    import torch

    try:
        with torch.no_grad():
            model.module(*inputs)
    except Exception as error:  # whatever the user's forward raises
        shapes = ", ".join(str(list(shape)) for shape in model.input_shapes)
        raise ModelError(
            f"{model.name} does not run on an input of shape {shapes}: {_first_line(error)}{_user_line(error)}; "
            "give its shape with --input-shape"
        ) from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def _user_line(error: BaseException) -> str:
    """Where in the user's code it happened: the last frame that is not inside an installed package."""
    quoted = re.findall(r'File "([^"]+)", line (\d+), in forward', str(error))
    frames = [(frame.filename, str(frame.lineno)) for frame in traceback.extract_tb(error.__traceback__)]
    own = [(file, line) for file, line in frames + quoted if "site-packages" not in file and not file.startswith("<")]
    own = [(file, line) for file, line in own if not file.endswith("/edgeds/models/capture.py")]
    return f" (at {own[-1][0]}:{own[-1][1]})" if own else ""


def _advice(error: BaseException) -> str:
    if "data-dependent" in str(error).lower():
        return "its control flow depends on the data; make the branch depend on shapes or constants, or use torch.where"
    return "make its forward static: no branches on tensor values and no shapes that depend on data"
