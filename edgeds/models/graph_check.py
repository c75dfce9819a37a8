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


def check_graph(module: fx.GraphModule, name: str) -> None:
    """Raises ModelError for the first step of an exported graph that no artifact could repeat; `name` is the model's."""
    for node in module.graph.nodes:
        if node.op == "get_attr":
            _check_tensor(module, node, name)
        elif node.op == "call_function":
            fault = _operator_fault(node) or _size_fault(node) or _random_fault(node) or _write_fault(node)
            if fault:
                raise ModelError(f"{name} {fault[0]} ({_title(node)}{node_place(node)}); {fault[1]}")
        elif node.op == "output":
            _check_outputs(node, name)


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
        return "uses an operator that is not PyTorch's own", "write it with PyTorch's operators"
    if isinstance(node.target, torch._ops.HigherOrderOperator):
        return "has control flow inside its graph", "make the branch static, or use torch.where"
    return None


def _size_fault(node: fx.Node) -> Fault:
    import torch

    fault = "has a size or a number that depends on the data", "use fixed sizes, and torch.where instead of indexing"
    values = node.meta.get("val")
    for value in values if isinstance(values, list | tuple) else (values,):
        if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
            return fault
        if isinstance(value, torch.Tensor) and any(isinstance(size, torch.SymInt) for size in value.shape):
            return fault
    return None if isinstance(node.target, _operators()) or node.target is operator.getitem else fault


def _operators() -> tuple[type, ...]:
    import torch

    return torch._ops.OpOverload, torch._ops.HigherOrderOperator


def _random_fault(node: fx.Node) -> Fault:
    import torch

    arguments = _arguments(node)
    training = [name for name in ("train", "training", "dropout_p") if name in arguments]
    if any(arguments[name] for name in training):
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
    if not isinstance(value, torch.Tensor):
        user = next(iter(node.users), node)
        raise ModelError(
            f"{name} has control flow inside its graph ({_title(user)}{node_place(user)}); "
            "make the branch static, or use torch.where"
        )


def _check_outputs(node: fx.Node, name: str) -> None:
    import torch
    from torch.utils._pytree import tree_leaves

    outputs = tree_leaves(node.args)
    if not outputs:
        raise ModelError(f"{name} returns nothing; return the tensors that an artifact shall compute")
    for k, output in enumerate(outputs):
        value = output.meta.get("val") if hasattr(output, "meta") else output
        if not isinstance(value, torch.Tensor):
            raise ModelError(f"{name} returns {value!r} as output {k}, which is no tensor; return tensors only")
        if value.ndim == 0 or value.shape[0] != 1:
            shape = ",".join(str(int(size)) for size in value.shape) or "()"
            raise ModelError(
                f"{name} gives output {k} of shape {shape}; the first axis must be the batch, which is 1: "
                "keep it (keepdim=True, unsqueeze(0))"
            )


def _title(node: fx.Node) -> str:
    return str(node.target) if "." in str(node.target) else getattr(node.target, "__name__", str(node.target))
