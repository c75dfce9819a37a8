"""Tensors that several steps read: apart while a graph is quantized, and one again afterwards.

A module that is called twice is two convolutions with one weight. prepare_pt2e folds each one's batch-norm into that weight, twice, which
is silently wrong (Siamese networks and shared heads came out at -3 dB).
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import torch
from torch import fx

from edgeds.program import tensor_of
from edgeds.spec import Program

aten = torch.ops.aten
WEIGHTED = {
    aten.conv1d.default,
    aten.conv2d.default,
    aten.conv2d.padding,
    aten.conv3d.default,
    aten.conv_transpose2d.input,
    aten.linear.default,
    aten.batch_norm.default,
}


def separate(module: fx.GraphModule) -> fx.GraphModule:
    """The same module, in which each convolution, linear layer and batch-norm has weights and a bias of its own."""
    read: set[str] = set()
    for node in [node for node in module.graph.nodes if node.op == "get_attr"]:
        for user in [user for user in node.users if user.target in WEIGHTED]:
            if str(node.target) in read:
                user.replace_input_with(node, _copy(module, node))
            read.add(str(node.target))
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _copy(module: fx.GraphModule, node: fx.Node) -> fx.Node:
    value = tensor_of(module, node).clone()
    names = (f"{str(node.target).replace('.', '_')}_{k}" for k in itertools.count(1))
    name = next(name for name in names if not hasattr(module, name))
    if value.is_floating_point():  # PT2E folds batch-norm into parameters only
        module.register_parameter(name, torch.nn.Parameter(value, requires_grad=False))
    else:
        module.register_buffer(name, value)
    with module.graph.inserting_before(node):
        copy = module.graph.get_attr(name)
    copy.meta = dict(node.meta)
    return copy


def merged(program: Program) -> Program:
    """The same program, weights of the same bytes, type and shape being one: what `separate` copied costs no space.

    Biases stay apart: ExecuTorch quantizes a shared one for its first reader, with that one's input scale (8 dB).
    """
    owner: dict[tuple[bytes, str, tuple[int, ...]], str] = {}
    names = {
        name: owner.setdefault((array.tobytes(), array.dtype.str, array.shape), name) if array.ndim > 1 else name
        for name, array in program.tensors.items()
    }
    nodes = tuple(replace(node, target=names[node.target]) if node.op == "get_attr" else node for node in program.nodes)
    return replace(
        program, nodes=nodes, tensors={name: program.tensors[name] for name in dict.fromkeys(names.values())}
    )
