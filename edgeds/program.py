"""A graph of ATen operators as plain data: from and to torch.fx, and as two files that execute nothing when they are loaded.

On disk a program is NAME.json (the nodes) and NAME.safetensors (the tensors). Only operators of the namespaces in
ALLOWED_NAMESPACES can stand in one, and its arguments are the JSON values of edgeds.program_values. edgeds.program_check
refuses anything else.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeds.errors import BundleError, ModelError
from edgeds.program_check import ALLOWED_NAMESPACES, check, check_operator
from edgeds.program_values import decode, decode_mapping, encode, encode_mapping, objects
from edgeds.spec import Node, Program

if TYPE_CHECKING:
    import torch
    from torch import fx

# PT2E's operators between real values and int8. A tensor's dequantize has its scale and zero point as arguments, a weight's as tensors.
CONVERSIONS = "quantized_decomposed."
QUANTIZE = f"{CONVERSIONS}quantize_per_tensor.default"
DEQUANTIZE = f"{CONVERSIONS}dequantize_per_tensor.default"
DEQUANTIZE_CHANNELS = f"{CONVERSIONS}dequantize_per_channel.default"

SCHEMA_VERSION = 2  # 1: nodes, input_shapes; 2: output_names, and each node's source


def from_graph_module(
    module: torch.nn.Module, input_shapes: tuple[tuple[int, ...], ...], output_names: tuple[str, ...] = ()
) -> Program:
    """The program of a GraphModule whose calls are all ATen operators; raises ModelError for any other call."""
    import torch
    from torch import fx

    assert isinstance(module, fx.GraphModule)
    names: dict[str, str] = {}
    tensors = {}
    for node in module.graph.nodes:
        if node.op == "get_attr" and node.target not in names:
            names[node.target] = node.target
            value = operator.attrgetter(node.target)(module)
            if not isinstance(value, torch.Tensor):
                raise ModelError(
                    f"{node.target} is a {type(value).__name__}, not a tensor: control flow cannot be exported; make it static"
                )
            tensors[node.target] = value.detach().contiguous().cpu().numpy().copy()
    nodes = tuple(_encode_node(node) for node in module.graph.nodes)
    return Program(nodes, tensors, input_shapes, output_names)


def to_graph_module(program: Program) -> fx.GraphModule:
    """A GraphModule that computes the program, its tensors as buffers. Raises BundleError for an operator that is not allowed."""
    import torch
    from torch import fx

    root = torch.nn.Module()
    for name, array in program.tensors.items():
        _set_attribute(root, name, torch.from_numpy(array.copy()))
    graph = fx.Graph()
    made: dict[str, fx.Node] = {}
    for node in program.nodes:
        target: Any = _operator(node.target) if node.op == "call_function" else node.target
        args, kwargs = decode(node.args, made), decode_mapping(node.kwargs, made)
        made[node.name] = graph.create_node(node.op, target, tuple(args), kwargs, name=node.name)
        made[node.name].meta["edgeds_module"] = node.module
        made[node.name].meta["edgeds_source"] = node.source
    graph.lint()
    return fx.GraphModule(root, graph)


def save(program: Program, stem: Path) -> None:
    """Writes `stem`.json and `stem`.safetensors; the same program gives the same bytes."""
    from safetensors.numpy import save as serialized

    stem.with_suffix(".json").write_text(_text(program))
    # not safetensors' save_file: its error for a full disk is no OSError, and its files are for their owner alone
    stem.with_suffix(".safetensors").write_bytes(serialized(dict(sorted(program.tensors.items()))))


def load(stem: Path) -> Program:
    """Reads what `save` wrote. Raises BundleError for a damaged or foreign file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = stem.with_suffix(".json")
    try:
        text = json.loads(path.read_text())
        if text["schema_version"] not in (1, SCHEMA_VERSION):
            raise BundleError(
                f"it has schema version {text['schema_version']}, this edgeds reads 1 and {SCHEMA_VERSION}"
            )
        rows = [[*row, ""] for row in text["nodes"]] if text["schema_version"] == 1 else text["nodes"]
        nodes = tuple(map(_read_node, rows))
        shapes = tuple(tuple(int(d) for d in shape) for shape in text["input_shapes"])
        names = tuple(str(name) for name in text.get("output_names", ()))
        program = Program(nodes, load_file(stem.with_suffix(".safetensors")), shapes, names)
        check(program)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        SafetensorError,
        BundleError,
    ) as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"cannot read the program {path.name}: {reason}; export the model again") from error
    return program


def digest(program: Program) -> str:
    """The sha256 of everything in the program but the lines that it comes from: a comment more changes none of its answers."""
    import hashlib

    nodes = tuple(replace(node, source="") for node in program.nodes)
    found = hashlib.sha256(_text(replace(program, nodes=nodes)).encode())
    for name, array in sorted(program.tensors.items()):
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def run(program: Program) -> Callable[..., tuple[torch.Tensor, ...]]:
    """A function that computes the program eagerly with PyTorch; its outputs come flattened, in the order of the graph."""
    import torch
    from torch.utils._pytree import tree_leaves

    module = to_graph_module(program)

    def call(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            return tuple(tree_leaves(module(*inputs)))

    return call


def input_names(program: Program) -> tuple[str, ...]:
    """The names of the inputs: those of the parameters of the user's forward."""
    return tuple(node.target for node in program.nodes if node.op == "placeholder")


def output_shapes(program: Program) -> tuple[tuple[int, ...], ...]:
    """The shape of each output, batch included, in the order of the graph."""
    return tuple(node.shape for node in output_nodes(program))


def output_nodes(program: Program) -> tuple[Node, ...]:
    """The nodes whose values the program returns, in order."""
    by_name = {node.name: node for node in program.nodes}
    return tuple(by_name[name] for name in references(program.nodes[-1].args))


def references(arguments: Any) -> Iterator[str]:
    """The names of the nodes that a node's arguments refer to, in order, as often as they do."""
    return (content for kind, content in objects(arguments) if kind == "node")


def _text(program: Program) -> str:
    nodes = [
        [n.name, n.op, n.target, n.args, n.kwargs, list(n.shape), n.dtype, n.module, n.source] for n in program.nodes
    ]
    shapes = [list(shape) for shape in program.input_shapes]
    text = {
        "schema_version": SCHEMA_VERSION,
        "input_shapes": shapes,
        "output_names": list(program.output_names),
        "nodes": nodes,
    }
    return json.dumps(text, indent=0, separators=(",", ":")) + "\n"


def _read_node(row: list[Any]) -> Node:
    name, op, target, args, kwargs, shape, dtype, module, source = row
    dims = tuple(int(d) for d in shape)
    return Node(str(name), str(op), str(target), args, kwargs, dims, str(dtype), str(module), str(source))


def _encode_node(node: fx.Node) -> Node:
    target = _operator_name(node) if node.op == "call_function" else str(node.target)
    if node.op not in ("placeholder", "get_attr", "call_function", "output"):
        raise ModelError(
            f"the exported graph calls {node.target!r}, a submodule and no operator; edgeds takes graphs of ATen operators only"
        )
    args = [] if node.op == "placeholder" else encode(list(node.args))
    shape, dtype = _value_of(node)
    kwargs, source = encode_mapping(node.kwargs), str(node.meta.get("edgeds_source", ""))
    return Node(node.name, node.op, target, args, kwargs, shape, dtype, module_path(node), source)


def _value_of(node: fx.Node) -> tuple[tuple[int, ...], str]:
    import torch

    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return (), ""
    return tuple(int(d) for d in value.shape), str(value.dtype).removeprefix("torch.")


def tensor_of(module: torch.nn.Module, node: Any) -> torch.Tensor:
    """The value of a get_attr node of this module's graph."""
    import torch

    value = operator.attrgetter(str(node.target))(module)
    assert isinstance(value, torch.Tensor)
    return value.detach()


def module_path(node: fx.Node) -> str:
    """The path of the user's module that a node comes from, '' where none is recorded."""
    if "edgeds_module" in node.meta:
        return str(node.meta["edgeds_module"])
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, _ in stack.values()]
    return paths[-1].removeprefix("L['self'].").removeprefix("L['self']") if paths else ""


def _operator_name(node: fx.Node) -> str:
    import torch

    if node.target is operator.getitem:
        return "getitem"
    if isinstance(node.target, torch._ops.OpOverload) and node.target.namespace in ALLOWED_NAMESPACES:
        return str(node.target)
    raise ModelError(
        f"operator {node.target} cannot be exported; edgeds takes ATen operators with static shapes only"
        + _source_line(node)
    )


def _source_line(node: fx.Node) -> str:
    trace = str(node.meta.get("stack_trace") or "").strip().splitlines()
    places = [line.strip() for line in trace if line.strip().startswith("File ")]
    return f" ({places[-1]})" if places else ""


def _operator(name: str) -> Any:
    import torch

    if name == "getitem":
        return operator.getitem
    check_operator(name)
    namespace, packet, overload = name.split(".")
    if namespace == "quantized_decomposed":
        import torch.ao.quantization.fx._decomposed  # registers the operators
    found = getattr(getattr(getattr(torch.ops, namespace), packet, None), overload, None)
    if not isinstance(found, torch._ops.OpOverload):
        raise BundleError(f"operator {name!r} is unknown to this torch {torch.__version__}; export the model again")
    return found


def _set_attribute(root: torch.nn.Module, path: str, value: torch.Tensor) -> None:
    import torch

    *parents, leaf = path.split(".")
    owner = root
    for part in parents:
        if not hasattr(owner, part):
            owner.add_module(part, torch.nn.Module())
        owner = getattr(owner, part)
    register(owner, leaf, value)


def register(owner: torch.nn.Module, name: str, value: torch.Tensor) -> None:
    """Adds a tensor to a module: numbers as parameters, for PT2E folds batch-norm into nothing else."""
    import torch

    if value.is_floating_point():
        owner.register_parameter(name, torch.nn.Parameter(value, requires_grad=False))
    else:
        owner.register_buffer(name, value)
