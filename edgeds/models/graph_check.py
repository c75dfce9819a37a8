"""What a captured graph may not do, whatever runs it: draw random numbers, keep state, change its input, give no tensors.

Such a graph runs in PyTorch, but no artifact made from it could be compared with it. So it is refused with the user's line.
"""

from __future__ import annotations

import operator
import re
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeds.errors import ModelError
from edgeds.program_check import ALLOWED_NAMESPACES

if TYPE_CHECKING:
    from torch import fx

HARMLESS_WRITES = ("aten.detach_.default",)  # it writes no numbers; torch.export puts it behind constants in the code
SPECTRUM = ("fft", "stft", "istft")  # what the names of operators begin with that compute complex numbers inside
SCALARS = ("aten.item.default", "aten._local_scalar_dense.default")


def check_graph(module: fx.GraphModule, name: str, output_names: tuple[str, ...], batch: int) -> None:
    """Raises ModelError for the first step of an exported graph that no artifact could repeat.

    `name` is the model's, `batch` the first axis of its inputs, and so of each of its outputs.
    """
    for node in module.graph.nodes:
        if node.op == "get_attr":
            _check_tensor(module, node, name)
        elif node.op == "call_function":
            fault = next(filter(None, (check(node) for check in _CHECKS)), None)
            if fault:
                raise ModelError(f"{name} {fault[0]} ({_title(node)}{node_place(node)}); {fault[1]}")
        elif node.op == "output":
            _check_outputs(node, name, output_names, batch)


def place(frames: Iterable[tuple[str, int]]) -> str:
    """' at net.py:12': the innermost of the (file, line) pairs that is the user's: in neither torch nor Python nor here."""
    own = [(file, line) for file, line in frames if _is_users(file)]
    if not own:
        return ""
    file, line = own[-1]
    path = Path(file)
    return f" at {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}:{line}"


def node_place(node: fx.Node) -> str:
    """Where in the user's code a step of the graph comes from, like `place`."""
    trace = str(node.meta.get("stack_trace") or "")
    return place((file, int(line)) for file, line in re.findall(r'File "([^"]+)", line (\d+)', trace))


def source(node: fx.Node) -> str:
    """`net.py:12`, the line of the user's code that a step of the graph comes from, without the folder; '' where none is known."""
    return Path(node_place(node).removeprefix(" at ")).name


def _is_users(file: str) -> bool:
    import torch

    path, here = Path(file), Path(__file__)
    installed = "site-packages" in path.parts or "dist-packages" in path.parts
    python = path.is_relative_to(sysconfig.get_path("stdlib")) and not installed
    torchs = path.is_relative_to(Path(torch.__file__).parent)
    return not (file.startswith("<") or python or torchs or path in (here, here.with_name("capture.py")))


Fault = tuple[str, str] | None  # what is wrong, and the next step


def _operator_fault(node: fx.Node) -> Fault:
    import torch

    if isinstance(node.target, torch._ops.OpOverload) and node.target.namespace not in ALLOWED_NAMESPACES:
        if "nms" in str(node.target):
            return "suppresses boxes inside its graph", "return all boxes and scores, and do it in the app"
        return "uses an operator that is not PyTorch's own", "write it with PyTorch's operators"
    if isinstance(node.target, torch._ops.HigherOrderOperator):
        return _region_fault(node)
    return None


def _region_fault(node: fx.Node) -> tuple[str, str]:
    """What is wrong with a step that calls a graph of its own."""
    import torch

    if node.target is torch.ops.higher_order.wrap_with_autocast:
        return "has a region of torch.autocast", "leave it out: artifacts compute in float32 or int8"
    return "has control flow inside its graph", "make the branch static, or use torch.where"


def _size_fault(node: fx.Node) -> Fault:
    import torch

    fault = "has a size or a number that depends on the data", "use fixed sizes, and torch.where instead of indexing"
    if str(node.target) in SCALARS:
        return fault[0], "keep it a tensor: leave out .item(), .tolist(), float() and int()"
    for value in _values(node):
        if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
            return fault
        if isinstance(value, torch.Tensor) and any(isinstance(size, torch.SymInt) for size in value.shape):
            return fault
    return None if isinstance(node.target, _operators()) or node.target is operator.getitem else fault


def _type_fault(node: fx.Node) -> Fault:
    """Complex numbers have no place in an artifact, and other floats than float32 none in the delegates that make it fast."""
    import torch

    name = str(node.target).removeprefix("aten.").lstrip("_")
    if name.startswith(SPECTRUM) or any(isinstance(v, torch.Tensor) and v.is_complex() for v in _values(node)):
        return "computes complex numbers", "compute the spectrum before the model, and give it its magnitude"
    for value in _values(node):
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dtype is not torch.float32:
            kind = str(value.dtype).removeprefix("torch.")
            return (
                f"computes in {kind}",
                "use float32: leave out .half(), .double() and autocast, make constants float32",
            )
    return None


def _values(node: fx.Node) -> tuple[Any, ...]:
    values = node.meta.get("val")
    return tuple(values) if isinstance(values, list | tuple) else (values,)


def _operators() -> tuple[type, ...]:
    import torch

    return torch._ops.OpOverload, torch._ops.HigherOrderOperator


def _random_fault(node: fx.Node) -> Fault:
    import torch

    arguments = _arguments(node)
    training = [name for name in ("train", "training", "dropout_p") if name in arguments]
    if any(arguments[name] for name in training):
        if "norm" in str(node.target):
            return "normalizes with the batch's own statistics", "leave out track_running_stats=False"
        return "has a layer in training mode", "pass training=self.training to it, and call .eval() on the model"
    if not training and torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
        return "draws random numbers", "draw them once in __init__ and keep them in a buffer"
    return None


def _write_fault(node: fx.Node) -> Fault:
    from torch import fx

    if str(node.target) in HARMLESS_WRITES:
        return None
    schema = getattr(node.target, "_schema", None)
    for argument, value in zip(schema.arguments if schema else (), node.args, strict=False):
        if isinstance(value, fx.Node) and argument.alias_info is not None and argument.alias_info.is_write:
            base = _base(value)
            if base.op == "placeholder":
                return f"changes its input {str(base.target)!r} in place", "compute a new tensor instead (x = x - 1)"
            if base.op == "get_attr":
                return (
                    f"changes its tensor {str(base.target)!r} when it runs",
                    "an artifact keeps no state; compute it anew",
                )
    return None


_CHECKS = (_operator_fault, _size_fault, _type_fault, _random_fault, _write_fault)


def _base(node: fx.Node) -> fx.Node:
    """The node that owns the memory of a node's value: views and in-place operators lead back to it."""
    from torch import fx

    while node.op == "call_function" and (schema := getattr(node.target, "_schema", None)):
        shares = any(returned.alias_info is not None for returned in schema.returns)
        if not shares or not node.args or not isinstance(node.args[0], fx.Node):
            break
        node = node.args[0]
    return node


def _arguments(node: fx.Node) -> dict[str, Any]:
    """A call's arguments by name, defaults included."""
    schema = getattr(node.target, "_schema", None)
    given = {}
    for i, argument in enumerate(schema.arguments if schema else ()):
        default = argument.default_value if argument.has_default_value() else None
        given[argument.name] = node.args[i] if i < len(node.args) else node.kwargs.get(argument.name, default)
    return given


def _check_tensor(module: fx.GraphModule, node: fx.Node, name: str) -> None:
    import torch

    value: Any = operator.attrgetter(str(node.target))(module)
    user = next(iter(node.users), node)
    if isinstance(value, torch.Generator):
        raise ModelError(
            f"{name} draws random numbers ({_title(user)}{node_place(user)}); draw them once in __init__ and keep them in a buffer"
        )
    if not isinstance(value, torch.Tensor):
        what, advice = _region_fault(user)
        raise ModelError(f"{name} {what} ({_title(user)}{node_place(user)}); {advice}")


def _check_outputs(node: fx.Node, name: str, names: tuple[str, ...], batch: int) -> None:
    import torch
    from torch.utils._pytree import tree_leaves

    outputs = tree_leaves(node.args)
    if not outputs:
        raise ModelError(f"{name} returns nothing; return the tensors that an artifact shall compute")
    for output, called in zip(outputs, names, strict=True):
        value = output.meta.get("val") if hasattr(output, "meta") else output
        if not isinstance(value, torch.Tensor):
            raise ModelError(f"{name} returns {value!r} as {called!r}, which is no tensor; return tensors only")
        if value.ndim == 0 or value.shape[0] != batch:
            shape = ",".join(str(int(size)) for size in value.shape) or "()"
            raise ModelError(
                f"{name} gives {called!r} of shape {shape}; the first axis must be the batch, which is {batch}: "
                "keep it (keepdim=True, unsqueeze(0))"
            )


def _title(node: fx.Node) -> str:
    return str(node.target) if "." in str(node.target) else getattr(node.target, "__name__", str(node.target))
