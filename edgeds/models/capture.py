"""Model → Program: the PyTorch module as a static graph of ATen operators."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import traceback
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgeds import program as programs
from edgeds.errors import ModelError
from edgeds.models.graph_check import check_graph, place
from edgeds.spec import Model, ModelCard, Program

if TYPE_CHECKING:
    import torch
    from torch import fx


def capture(model: Model) -> Program:
    """The float program of a model, for its input shapes; all inputs are float32.

    Raises ModelError, naming the user's line where there is one, where the model is in training mode, does not run on such inputs,
    cannot be exported, or computes what no artifact could: see `edgeds.models.graph_check`.
    """
    import torch

    training = [name or "the model" for name, part in model.module.named_modules() if part.training]
    if training:
        raise ModelError(f"{model.name} is in training mode ({training[0]}); call .eval() on it first")
    inputs = tuple(torch.zeros(shape) for shape in model.input_shapes)
    _try_forward(model, inputs)
    module = _export(model, inputs)
    check_graph(module, model.name)
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
            model.module(*(tensor.clone() for tensor in inputs))
    except Exception as error:  # whatever the user's forward raises
        shapes = " and ".join(",".join(map(str, shape)) for shape in model.input_shapes)
        raise ModelError(
            f"{model.name} does not run on an input of shape {shapes}: {_reason(error)}{_user_place(error)}; "
            f"{_forward_advice(error)}"
        ) from error


def _export(model: Model, inputs: tuple[torch.Tensor, ...]) -> fx.GraphModule:
    import torch
    from torch import fx

    try:
        with _quiet(), torch.no_grad():
            module = torch.export.export(model.module, inputs).module(check_guards=False)
    except Exception as error:  # torch.export raises many kinds, none of them public
        raise ModelError(
            f"torch.export cannot export {model.name}: {_reason(error)}{_user_place(error)}; {_export_advice(error)}"
        ) from error
    assert isinstance(module, fx.GraphModule)
    return module


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch.export says beside its exception: warnings of its own deprecations, and half a graph on stderr."""
    log = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    before = log.disabled
    log.disabled = True
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = before


def _reason(error: BaseException) -> str:
    """The exception's kind and the first line of its text, cut where it is long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _user_place(error: BaseException) -> str:
    """Where in the user's code it happened; torch.export quotes the line where its traceback lacks it."""
    frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    quoted = [(file, int(line)) for file, line in re.findall(r'File "([^"]+)", line (\d+), in forward', str(error))]
    return place([*frames, *quoted])


def _forward_advice(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, TypeError) and "positional argument" in text:
        return "give one --input-shape for each input that its forward takes, in their order"
    if "scalar types: Long, Int" in text or "tensors used as indices" in text:
        return "edgeds feeds float32 inputs; take the embedding or the indexing out of the model"
    return "give the shape that it takes with --input-shape, or correct its forward"


def _export_advice(error: BaseException) -> str:
    if "data-dependent" in str(error).lower():
        return "its control flow depends on the data; make it depend on shapes or constants, or use torch.where"
    return "make its forward static: only tensor operations, no branches on values and no sizes that depend on data"
