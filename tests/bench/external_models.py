"""torchvision and timm beside the CPU build of torch: PyPI's torchvision is built for CUDA's, and does not import there by itself.

    python -m tests.bench.external_models inspect timm:mobilenetv1_100

is the command line of edgeds with both made importable.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

PACKAGES = ("torchvision", "timm")


@functools.cache
def make_importable() -> Any:
    """Declares the two operators of torchvision's C++ library that its import asks for; without kernels, as no classifier calls them.

    Returns the library that declares them: torch forgets the operators when it is gone, so the cache keeps it.
    """
    import torch

    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise SystemExit(f"package {missing[0]} is not installed; run: make test")
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]  # torch has none there
    for name in ("nms", "qnms"):
        schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(schema)  # type: ignore[no-untyped-call]  # likewise
    return library


def main() -> None:
    """The command line of edgeds, with the models of both libraries."""
    make_importable()
    from edgeds.cli import main as edgeds_main

    edgeds_main()


if __name__ == "__main__":
    main()
