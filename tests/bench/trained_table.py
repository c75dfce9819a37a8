"""What quantization costs nets that were trained on Fashion-MNIST, in every runtime: prints a Markdown table. `make bench-trained`.

    python -m tests.bench.trained_table [NET ...]

DS-CNN's weights are in the repository. The others' are kept in edgeds' cache (`EDGEDS_CACHE`); training all six takes some minutes the first time.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import nn

from edgeds.cache import Cache
from edgeds.errors import EdgedsError
from edgeds.spec import Runtime
from tests.bench.coverage_row import Cell
from tests.bench.trained_peers import measure_peers
from tests.trained.accuracy import Row, measure, subject_of
from tests.trained.ds_cnn import WEIGHTS, FashionDSCNN
from tests.trained.fashion import Fashion, fashion_mnist
from tests.trained.training import TRAINED, trained
from tests.trained.zoo_nets import ZOO_NETS

COLUMNS = (
    "net",
    "parameters",
    "float %",
    *(f"{runtime}: right / same %" for runtime in Runtime),
    "not integer",
)
ALL: tuple[type[nn.Module], ...] = (FashionDSCNN, *TRAINED)
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
            for row in _rows(net, weights[net.__name__], data, folder):
                print(line(row), flush=True)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"\n{sum(usage.ru_utime + usage.ru_stime for usage in used):.0f} CPU seconds")


def _rows(net: type[nn.Module], weights: Path, data: Fashion, work: Path) -> Iterator[Row]:
    """edgeds' row, and of the zoo's MobileNetV3, which quantizers lose most of, the peers'."""
    tested = subject_of(net, weights, data)
    yield measure(tested, work)
    if net in ZOO_NETS:
        yield from measure_peers(tested, work)


def line(row: Row) -> str:
    """One net as a line of the table: of each runtime how many of all answers are right, and how many the float model's."""
    found = {one.runtime: f"{one.accuracy:.2f} / {one.agreement:.2f}" for one in row.int8}
    runtimes = [found.get(runtime, "–") for runtime in Runtime]
    left = [text for cell in row.cells for text in _left(cell)]
    cells = (
        row.net,
        f"{row.parameters:,}",
        f"{row.accuracy:.2f}",
        *runtimes,
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
