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
from edgeds.models.graph_check import check_graph, place, source
from edgeds.models.output_names import output_names
from edgeds.spec import Model, ModelCard, Program

if TYPE_CHECKING:
    import torch
    from torch import fx


def capture(model: Model) -> Program:
    """The float program of a model, for its input shapes; all inputs are float32.

    Raises ModelError, naming the user's line where there is one, where the model is in training mode or TorchScript, does not run on such inputs,
    cannot be exported, or computes what no artifact could: see `edgeds.models.graph_check`.
    """
    import torch

    training = [name or "the model" for name, part in model.module.named_modules() if part.training]
    if training:
        raise ModelError(f"{model.name} is in training mode ({training[0]}); call .eval() on it first")
    scripted = [name for name, part in model.module.named_modules() if isinstance(part, torch.jit.ScriptModule)]
    if scripted:
        what = f"has a TorchScript part ({scripted[0]})" if scripted[0] else "is TorchScript"
        raise ModelError(f"{model.name} {what}, which torch.export does not take; give the Python module instead")
    inputs = tuple(torch.zeros(shape) for shape in model.input_shapes)
    _try_forward(model, inputs)
    module, names = _export(model, inputs)
    batch = model.input_shapes[0][0]
    check_graph(module, model.name, names, batch)
    if batch > 1:
        _check_rows(model, module, names)
    _note_lines(module)
    return programs.from_graph_module(module, model.input_shapes, names)


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
        input_names=programs.input_names(program),
        output_names=program.output_names,
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


def _export(model: Model, inputs: tuple[torch.Tensor, ...]) -> tuple[fx.GraphModule, tuple[str, ...]]:
    """The graph, and what the user's forward calls its outputs."""
    import torch
    from torch import fx

    try:
        with _quiet(), torch.no_grad():
            exported = torch.export.export(model.module, inputs)
            module = exported.module(check_guards=False)
    except Exception as error:  # torch.export raises many kinds, none of them public
        raise ModelError(
            f"torch.export cannot export {model.name}: {_reason(error)}{_user_place(error) or _forward_place(model)}; "
            f"{_export_advice(error)}"
        ) from error
    assert isinstance(module, fx.GraphModule)
    return module, output_names(exported.call_spec.out_spec)


def _check_rows(model: Model, module: fx.GraphModule, names: tuple[str, ...]) -> None:
    """Raises ModelError where the answer to a sample depends on the others of its batch: then it is no answer to that sample.

    The first sample of a random batch is changed, and then the last one; the answers to the others have to stay.
    """
    import torch
    from torch.utils._pytree import tree_leaves

    generator = torch.Generator().manual_seed(0)
    # within 0..1, so that what the model takes for indices is some
    inputs, others = ([torch.rand(shape, generator=generator) for shape in model.input_shapes] for _ in range(2))
    with torch.no_grad():
        answers = tree_leaves(module(*(tensor.clone() for tensor in inputs)))
        for changed, kept in ((0, slice(1, None)), (-1, slice(None, -1))):
            mixed = [tensor.clone() for tensor in inputs]
            for tensor, other in zip(mixed, others, strict=True):
                tensor[changed] = other[changed]
            for name, answer, found in zip(names, answers, tree_leaves(module(*mixed)), strict=True):
                if not _close(answer[kept], found[kept]):
                    raise ModelError(_mixing(model, name))


def _close(answer: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal but for rounding: a batch's samples may be summed up in another order."""
    import torch

    tolerance = 1e-4 * float(answer.double().abs().max())
    return torch.allclose(answer.double(), other.double(), rtol=0, atol=tolerance, equal_nan=True)


def _mixing(model: Model, name: str) -> str:
    shapes = " ".join(f"--input-shape {','.join(map(str, (1, *shape)))}" for shape in model.input_shapes)
    return (
        f"{model.name} mixes the {model.input_shapes[0][0]} samples of its batch in {name!r}, so that no sample has an answer of its "
        f"own; make all of them one sample: {shapes}, with x[0] in its forward and [None] behind it"
    )


def _note_lines(module: fx.GraphModule) -> None:
    """Notes the user's line at each step, and removes the steps that only assert what torch.export has just seen."""
    for node in list(module.graph.nodes):
        node.meta["edgeds_source"] = source(node)
        if str(node.target).startswith("aten._assert_") and not node.users:
            module.graph.erase_node(node)


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
    """The exception's kind and the first sentence of its text, cut where it is long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = re.sub(r" \(unhinted: .*", "", lines[0]) if lines else ""
    text = re.split(r"\.\s+(?=[A-Z(])", first)[0][:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _user_place(error: BaseException) -> str:
    """Where in the user's code it happened; torch.export quotes the line where its traceback lacks it."""
    frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    quoted = [(file, int(line)) for file, line in re.findall(r'File "([^"]+)", line (\d+), in forward', str(error))]
    return place([*frames, *quoted])


def _forward_place(model: Model) -> str:
    """Where the model's forward begins: torch.export has no line for what is wrong with all of it."""
    code = getattr(type(model.module).forward, "__code__", None)
    return place([(code.co_filename, code.co_firstlineno)]) if code else ""


def _forward_advice(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, TypeError) and "positional argument" in text:
        return "give one --input-shape for each input that its forward takes, in their order"
    if "scalar types: Long, Int" in text or "tensors used as indices" in text:
        return (
            "edgeds feeds float32 inputs; make them integers inside (x.long()), or take the indexing out of the model"
        )
    if "numpy" in text or "np." in text or "ndarray" in text:
        return "use PyTorch's functions instead of NumPy's"
    if "CUDA" in text or "cuda" in text:
        return "leave out .cuda() and .to(device): artifacts are made on the CPU"
    return "give the shape that it takes with --input-shape, or correct its forward"


def _export_advice(error: BaseException) -> str:
    if "data-dependent" in str(error).lower():
        return "its control flow depends on the data; make it depend on shapes or constants, or use torch.where"
    if "numpy" in str(error):
        return "use PyTorch's functions instead of NumPy's"
    if "is not a known type" in str(error) or "pytree" in str(error):
        return "return tensors, or a dict, list, tuple or named tuple of them"
    return "make its forward static: only tensor operations, no branches on values and no sizes that depend on data"
