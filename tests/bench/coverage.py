"""How much of timm's and torchvision's separable-convolution nets lowers to integers in every format: `make bench-coverage`.

    python -m tests.bench.coverage [NET ...] [--subset] [--quick] [--out FILE]

Each net in a process of its own, two at a time. Rows are appended to FILE (JSON lines), and those in it that were measured with
the same code of edgeds are not measured again, so that an interrupted run resumes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from edgeds.lowering import code_digest
from edgeds.process import end_all, last_line, run_process
from tests.bench.coverage_nets import NETS, SUBSET, Net
from tests.bench.coverage_row import Failure, Row, from_json, summary, to_json
from tests.bench.coverage_table import HEADER, line
from tests.bench.photos import few_photos

AT_ONCE = 2
ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Prints the table, a line a net, and how many came out how."""
    options = _options()
    nets = _chosen(options.nets, options.subset)
    print(HEADER, flush=True)
    rows = []
    for row in coverage(nets, options.out, options.quick):
        rows.append(row)
        print(line(row), flush=True)
    print(f"\n{summary(rows)}")


def coverage(nets: Sequence[Net], out: Path, quick: bool) -> Iterator[Row]:
    """The nets' rows in their order, from `out` where they are there already."""
    code = code_digest()
    done = {row.net: row for row in _read(out) if (row.code, row.quick) == (code, quick)}
    lock = threading.Lock()

    def get(net: Net) -> Row:
        if net.name in done:
            return done[net.name]
        row = _measured(net, photos, quick, code)
        with lock:
            _append(out, row)
        return row

    with tempfile.TemporaryDirectory() as photos, _pool() as pool:
        few_photos(Path(photos))
        yield from pool.map(get, nets)


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Threads that each wait for one net's process; Ctrl-C ends those processes."""
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        end_all()
        raise
    finally:
        pool.shutdown()


def _measured(net: Net, photos: str, quick: bool, code: str) -> Row:
    """The row that the net's process prints; where it dies, that is the row."""
    print(f"measuring {net.name}", file=sys.stderr, flush=True)
    mode = "quick" if quick else "full"
    command = [sys.executable, "-m", "tests.bench.coverage_measure", net.ref, photos, mode, code]
    finished = run_process(command, env={"PYTHONPATH": str(ROOT)})
    if finished.returncode == 0:
        return from_json(finished.stdout)
    text = f"exit code {finished.returncode}: {last_line(finished.stderr)}"
    return Row(net.name, code, quick, 0.0, failure=Failure(text, False))


def _read(out: Path) -> Iterator[Row]:
    yield from map(from_json, out.read_text().splitlines() if out.exists() else ())


def _append(out: Path, row: Row) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        file.write(to_json(row) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.coverage", description=__doc__.partition("\n")[0])
    parser.add_argument("nets", nargs="*", metavar="NET", help="names as in coverage_nets.py; default: all")
    parser.add_argument("--subset", action="store_true", help=f"the {len(SUBSET)} that CI runs")
    parser.add_argument("--quick", action="store_true", help="int8 alone, and no times")
    parser.add_argument("--out", type=Path, default=Path("out/coverage.jsonl"), help="where rows are kept")
    return parser.parse_args()


def _chosen(names: Sequence[str], subset: bool) -> Sequence[Net]:
    if not names:
        return SUBSET if subset else NETS
    known = {net.name: net for net in NETS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"unknown net {unknown[0]!r}; choose from {', '.join(known)}")
    return [known[name] for name in names]


if __name__ == "__main__":
    main()
