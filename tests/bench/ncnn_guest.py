"""Does in the guest what ncnn's benchncnn does: zero weights, pools of memory, all of an image 0.01, and marks around the second run.

    ncnn_guest.py LIBRARY PARAM WIDTH HEIGHT

LIBRARY is a folder with the ncnn package, PARAM a network in ncnn's text format.
"""

import contextlib
import importlib
import os
import sys
from typing import Any

WARM_UP, BEGIN, END = 3, 1, 2


def mark(code: int) -> None:
    """A system call that fails everywhere, and that the emulator listens to."""
    with contextlib.suppress(OSError):
        os.getpgid(0x51D0000 | code)


def load(ncnn: Any, param: str) -> Any:
    """The network with benchncnn's options, those that are not ncnn's defaults."""
    net = ncnn.Net()
    options = net.opt
    options.lightmode = True
    options.num_threads = 1
    options.blob_allocator = pool(ncnn.UnlockedPoolAllocator)
    options.workspace_allocator = pool(ncnn.PoolAllocator)
    if net.load_param(param) != 0:
        sys.exit(f"ncnn cannot read {param}")
    net.load_model(ncnn.DataReaderFromEmpty())
    return net


def pool(kind: Any) -> Any:
    """An allocator that keeps what was freed, and gives it out again however much larger it is than what is asked for."""
    allocator = kind()
    allocator.set_size_compare_ratio(0.0)
    _pools.append(allocator)
    return allocator


_pools: list[Any] = []  # a network does not keep its allocators alive


def main(library: str, param: str, width: str, height: str) -> None:
    """Runs the network three times."""
    sys.path.insert(0, library)
    ncnn = importlib.import_module("ncnn")
    net = load(ncnn, param)
    image = ncnn.Mat(int(width), int(height), 3)
    image.fill(0.01)

    def run() -> None:
        extractor = net.create_extractor()
        for name in net.input_names():
            extractor.input(name, image)
        for name in net.output_names():
            extractor.extract(name)

    run()
    mark(WARM_UP)
    run()
    mark(BEGIN)
    run()
    mark(END)


if __name__ == "__main__":
    main(*sys.argv[1:])
