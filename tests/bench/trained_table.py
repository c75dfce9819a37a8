"""What quantization costs nets that were trained on Fashion-MNIST, in every runtime: prints a Markdown table. `make bench-trained`.

    python -m tests.bench.trained_table [NET ...]

DS-CNN's weights are in the repository. The others' are kept in edgeds' cache (`EDGEDS_CACHE`); training all four takes some minutes the first time.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from edgeds.cache import Cache
from edgeds.errors import EdgedsError
from edgeds.spec import Runtime
from tests.bench.coverage_row import Cell
from tests.trained.accuracy import Row, measure
from tests.trained.ds_cnn import WEIGHTS, FashionDSCNN
from tests.trained.fashion import fashion_mnist
from tests.trained.nets import NETS
from tests.trained.training import trained

COLUMNS = (
    "net",
    "parameters",
    "float %",
    *(f"{runtime} int8 %" for runtime in Runtime),
    "same answers %",
    "not integer",
)
ALL: tuple[type[nn.Module], ...] = (FashionDSCNN, *NETS)
HEADER = f"| {' | '.join(COLUMNS)} |\n|---|{'--:|' * (len(COLUMNS) - 2)}---|"


def main() -> None:
    """Trains what is not in the cache, and measures net by net."""
    try:
        _print_table(_chosen(sys.argv[1:]))
    except EdgedsError as error:
        raise SystemExit(str(error)) from error


def _print_table(names: Sequence[str]) -> None:
    data = fashion_mnist()
    print(HEADER, flush=True)
    with Cache() as store, tempfile.TemporaryDirectory() as work:
        weights = trained([name for name in names if name != FashionDSCNN.__name__], store)
        weights[FashionDSCNN.__name__] = WEIGHTS
        for net in (net for net in ALL if net.__name__ in names):
            folder = Path(work) / net.__name__
            folder.mkdir()
            print(line(measure(net, weights[net.__name__], data, folder)), flush=True)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"\n{sum(usage.ru_utime + usage.ru_stime for usage in used):.0f} CPU seconds")


def line(row: Row) -> str:
    """One net as a line of the table; `same answers` is the worst runtime's share of the float model's answers."""
    accuracy = {found.runtime: f"{found.accuracy:.2f}" for found in row.int8}
    agreement = min(found.agreement for found in row.int8)
    runtimes = [accuracy.get(runtime, "–") for runtime in Runtime]
    left = [text for cell in row.cells for text in _left(cell)]
    cells = (
        row.net,
        f"{row.parameters:,}",
        f"{row.accuracy:.2f}",
        *runtimes,
        f"{agreement:.2f}",
        ", ".join(left) or "–",
    )
    return f"| {' | '.join(cells)} |"


def _left(cell: Cell) -> list[str]:
    """What a format does not compute in integers; in brackets what edgeds' notes name."""
    return [f"{cell.format}: {text}" for text in (*cell.leftovers, *(f"({name})" for name in cell.named))]


def _chosen(names: Sequence[str]) -> Sequence[str]:
    known = [net.__name__ for net in ALL]
    for name in names:
        if name not in known:
            raise SystemExit(f"unknown net {name!r}; choose from {', '.join(known)}")
    return names or known


if __name__ == "__main__":
    main()
