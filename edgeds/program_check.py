"""Is a program that comes from a file well-formed, and safe to hand to torch.fx?

torch.fx turns a graph into Python source and runs it: names of inputs, tensors and keyword arguments stand in that source as they
are. So each of them must be an identifier, and each operator one of ATen's, before a graph is built.
"""

from __future__ import annotations

import keyword

from edgeds.errors import BundleError
from edgeds.program_values import KINDS, objects
from edgeds.spec import Node, Program

ALLOWED_NAMESPACES = ("aten", "quantized_decomposed")
FILE_OPERATORS = ("from_file", "save")  # ATen's only operators that open files
OPS = ("placeholder", "get_attr", "call_function", "output")


def check(program: Program) -> None:
    """Raises BundleError for the first thing that `save` would never have written."""
    known: set[str] = set()
    for node in program.nodes:
        _check_names(node)
        _check_target(node, program)
        reads = [content for kind, content in objects([node.args, {"dict": node.kwargs}]) if kind == "node"]
        missing = [name for name in reads if name not in known]
        if missing:
            raise BundleError(f"step {node.name!r} reads {missing[0]!r}, which no step before it computes")
        if node.name in known:
            raise BundleError(f"two steps have the name {node.name!r}")
        known.add(node.name)
    inputs = sum(node.op == "placeholder" for node in program.nodes)
    if inputs != len(program.input_shapes):
        raise BundleError(f"it has {inputs} inputs but {len(program.input_shapes)} input shapes")
    if [node.op for node in program.nodes].index("output") != len(program.nodes) - 1:
        raise BundleError("its last step is no output")


def check_operator(name: str) -> None:
    """Raises BundleError for an operator that may not stand in a program, whether this torch knows it or not."""
    namespace, _, rest = name.partition(".")
    parts = rest.split(".")
    plain = len(parts) == 2 and all(part.isidentifier() for part in parts) and parts[0] not in FILE_OPERATORS
    if name != "getitem" and (namespace not in ALLOWED_NAMESPACES or not plain):
        allowed = ", ".join(ALLOWED_NAMESPACES)
        raise BundleError(f"operator {name!r} is not allowed in a program; allowed are those of {allowed}")


def _check_names(node: Node) -> None:
    if node.op not in OPS:
        raise BundleError(f"step {node.name!r} has the unknown kind {node.op!r}; choose from {', '.join(OPS)}")
    if not isinstance(node.args, list) or not isinstance(node.kwargs, dict):
        raise BundleError(f"the arguments of step {node.name!r} are no list and mapping")
    for kind, content in objects([node.args, {"dict": node.kwargs}]):
        if kind not in KINDS or not isinstance(content, dict if kind == "dict" else str):
            raise BundleError(f"step {node.name!r} has the unknown argument {kind!r}; known are {', '.join(KINDS)}")
        for name in content if kind == "dict" else ():
            _require_name(name, node)
    _require_name(node.name, node)


def _check_target(node: Node, program: Program) -> None:
    if node.op == "call_function":
        check_operator(node.target)
    elif node.op == "get_attr" and node.target not in program.tensors:
        raise BundleError(f"tensor {node.target!r} of step {node.name!r} is missing")
    elif node.op == "get_attr" and not all(map(_is_part, node.target.split("."))):
        raise BundleError(f"{node.target!r} in step {node.name!r} is no tensor's name")
    elif node.op == "placeholder":
        _require_name(node.target, node)


def _require_name(text: str, node: Node) -> None:
    if not _is_name(text):
        raise BundleError(f"{text!r} in step {node.name!r} is no identifier")


def _is_name(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text) and not text.startswith("__")


def _is_part(text: str) -> bool:
    """A part of a tensor's path: an identifier, or the number of a child (`features.0.weight`)."""
    return _is_name(text) or text.isdecimal()
