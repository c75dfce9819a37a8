"""What the outputs of a model are called: the keys and fields of what its forward returns."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.utils._pytree import TreeSpec


def output_names(spec: TreeSpec) -> tuple[str, ...]:
    """A name for each output, in their order: `boxes` of a dict or named tuple, `features.1` of a list in one.

    Outputs of a plain tuple are `output_0`, `output_1`…, a single tensor is `output`. Where two had the same name, all are numbered.
    """
    from torch.utils._pytree import tree_flatten_with_path, tree_unflatten

    leaves, _ = tree_flatten_with_path(tree_unflatten(range(spec.num_leaves), spec))
    names = tuple(_name(path) for path, _ in leaves)
    if len(set(names)) < len(names):
        return tuple(f"output_{k}" for k in range(len(names)))
    return names


def _name(path: tuple[Any, ...]) -> str:
    parts = [re.sub(r"[^\w-]", "_", str(_of(key))) for key in path]
    name = ".".join(parts)
    return f"output_{name}" if name[:1].isdigit() else name or "output"


def _of(key: Any) -> Any:
    """A dict's key, a sequence's index, or a field's name: PyTorch has a class for each."""
    return next(getattr(key, kind) for kind in ("key", "idx", "name") if hasattr(key, kind))
