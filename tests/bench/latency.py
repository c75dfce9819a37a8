"""Parts latencies against published ones: `make bench-latency`, `make bench-latency ROWS="--device raspberry-pi-4 --net mobilenet"`.

ncnn's rows run ncnn under the same emulator as everything else, XNNPACK's and ExecuTorch's rows this tool's own artifacts.
Everything that was emulated is kept in the cache, so that a second run takes seconds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from edgeds import devices
from edgeds.cache import Cache
from edgeds.emulator import setup
from edgeds.emulator.image import Image
from edgeds.latency.estimate import estimate, parts
from edgeds.results import LatencyReport
from tests.bench import latency_artifacts, latency_fit, latency_table, ncnn_runs, published
from tests.bench.latency_table import Compared
from tests.bench.published import Published

# Compared only where they are asked for.
_SLOW = {("raspberry-pi-5", "vision_transformer")}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the rows, what they come to, and how the fitted constant does without each board."""
    options = _parse(arguments)
    chosen, left_out = _choose(options)
    compared = list(compare(chosen))
    for row in left_out:
        print(f"not compared: {row.device}, {row.threads} threads, {row.net}: {why_not(row, asked=options.net or ())}")
    if not compared:
        sys.exit("no rows are left")
    print(latency_table.table(compared), latency_table.summaries(compared), sep="\n\n")
    if any(one.row.runtime == "XNNPACK" for one in compared):
        print(f"\n{latency_artifacts.XNNPACK_NOTE}")
    emulated = [one for one in compared if one.parts is not None]
    single = [one for one in emulated if one.row.threads == 1]
    several = [one for one in emulated if one.row.threads > 1]
    _print_fit("UNHIDDEN", single, latency_fit.with_unhidden)
    _print_fit("EFFICIENCY", several, latency_fit.with_efficiency)


def _print_fit(constant: str, rows: Sequence[Compared], total: latency_fit.Total) -> None:
    if len({one.row.device for one in rows}) > 1:
        print("", latency_fit.table(constant, latency_fit.leave_one_board_out(rows, total)), sep="\n")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.latency", description=__doc__)
    for name, key in (("--device", "device"), ("--net", "net"), ("--runtime", "runtime")):
        parser.add_argument(name, action="append", help=f"only rows of this {key}; may be repeated")
    parser.add_argument("--threads", action="append", type=int, help="only rows of so many threads")
    return parser.parse_args(arguments)


def _choose(options: argparse.Namespace) -> tuple[list[Published], list[Published]]:
    """The rows to compare, and those that cannot be."""
    rows = [row for row in published.rows() if _is_wanted(row, options)]
    left_out = [row for row in rows if why_not(row, asked=options.net or ())]
    return [row for row in rows if row not in left_out], left_out


def _is_wanted(row: Published, options: argparse.Namespace) -> bool:
    pairs = [(row.device, options.device), (row.net, options.net), (row.runtime, options.runtime)]
    return all(not wanted or value in wanted for value, wanted in [*pairs, (row.threads, options.threads)])


def why_not(row: Published, asked: Collection[str] = ()) -> str:
    """Why `row` is not compared, where the nets `asked` are asked for by name; empty where it is."""
    if row.disturbed:
        return f"its runs took {row.min_ms:g} to {row.max_ms:g} ms"
    if (row.device, row.net) in _SLOW and row.net not in asked:
        return f"its numbers of 16 bits take an hour to emulate; ask for it with --net {row.net}"
    return ""


def compare(rows: Sequence[Published]) -> Iterator[Compared]:
    """`rows` with their estimates, those of one net on one device next to each other."""
    image = setup.ensure()
    ordered = sorted(rows, key=_program)
    with Cache() as cache:
        for _, group in groupby(ordered, key=_program):
            same = list(group)
            print(f"{same[0].runtime} {same[0].net} on {same[0].device}", file=sys.stderr)
            yield from _compare_one(same, image, cache)


def _program(row: Published) -> tuple[str, ...]:
    return row.runtime, row.device, row.net, row.precision, row.version


def _compare_one(rows: Sequence[Published], image: Image, cache: Cache) -> Iterator[Compared]:
    first = rows[0]
    if first.runtime != "ncnn":
        for row in rows:
            yield Compared(row, latency_artifacts.release(row), latency_artifacts.latency(row, cache))
        return
    device = devices.load(first.device)
    trace = ncnn_runs.trace(*ncnn_runs.described(first.net), first.version, device, image, cache)
    for row in rows:
        report: LatencyReport = estimate(trace, device, row.threads, subject=row.net)
        yield Compared(row, f"ncnn {first.version}", report, parts(trace, device))


if __name__ == "__main__":
    main()
