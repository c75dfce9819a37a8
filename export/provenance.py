"""torch.fx notes down where each node came from, and copies the whole history of a node in each of dozens of passes.

Nothing in an artifact comes from it, but the copying is a sixth of the time that a lowering takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def shared_provenance() -> Iterator[None]:
    """Inside, copies of a node's history share its entries, which nobody changes."""
    from torch.fx.traceback import NodeSource

    if hasattr(NodeSource, "__deepcopy__"):
        yield
        return
    NodeSource.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]  # the hook that copy looks for
    try:
        yield
    finally:
        del NodeSource.__deepcopy__  # type: ignore[attr-defined]  # set above
