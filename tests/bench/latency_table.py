"""How far estimates are from published latencies: errors of rows, and what they come to for a board."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgeds.latency.estimate import Parts
from edgeds.results import LatencyReport
from tests.bench.published import Published

WITHIN = (0.10, 0.15, 0.20)
_HEADER = (
    "| published for | run | device | threads | net | published ms | estimate ms | low..high ms | error |\n"
    "|---|---|---|--:|---|--:|--:|--:|--:|"
)
_SUMMARY_HEADER = (
    "| runtime, device, threads | rows | mean error | mean absolute error | within 10 % | 15 % | 20 % | inside low..high "
    "| rank correlation |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|"
)


@dataclass(frozen=True, slots=True)
class Compared:
    """A published row, which runtime and release was run for it, what is estimated, and where ncnn was run what that is made of."""

    row: Published
    run: str
    report: LatencyReport
    parts: Parts | None = None

    @property
    def error(self) -> float:
        """Of the estimate, by the published number; negative where it is too fast."""
        return self.report.ms / self.row.ms - 1

    @property
    def inside(self) -> bool:
        """Whether the published number is in the stated interval."""
        return self.report.low_ms <= self.row.ms <= self.report.high_ms


@dataclass(frozen=True, slots=True)
class Summary:
    """Of several rows: shares are 0 to 1, `within` for WITHIN. `rank_correlation` is Spearman's, 0 for fewer than three rows."""

    n_rows: int
    bias: float
    mean_absolute_error: float
    within: tuple[float, ...]
    inside: float
    rank_correlation: float


def summary(rows: Sequence[Compared]) -> Summary:
    """Of at least one row."""
    errors = [one.error for one in rows]
    n = len(rows)
    return Summary(
        n,
        sum(errors) / n,
        sum(abs(error) for error in errors) / n,
        tuple(sum(abs(error) <= most for error in errors) / n for most in WITHIN),
        sum(one.inside for one in rows) / n,
        rank_correlation([one.row.ms for one in rows], [one.report.ms for one in rows]),
    )


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's, of values without ties: 1 - 6 Σ d² / (n (n² - 1)), d the difference of the ranks."""
    n = len(a)
    if n < 3:
        return 0.0
    squares = sum((x - y) ** 2 for x, y in zip(_ranks(a), _ranks(b), strict=True))
    return 1 - 6 * squares / (n * (n * n - 1))


def _ranks(values: Sequence[float]) -> list[int]:
    order = sorted(range(len(values)), key=lambda k: values[k])
    ranks = [0] * len(values)
    for rank, k in enumerate(order):
        ranks[k] = rank
    return ranks


def table(rows: Sequence[Compared]) -> str:
    """Each row, in Markdown."""
    return "\n".join([_HEADER, *(_line(one) for one in rows)])


def _line(one: Compared) -> str:
    row, report = one.row, one.report
    mark = "" if one.inside else " (outside)"
    published = row.runtime if one.run.endswith(row.version) else f"{row.runtime}, {row.version}"
    cells = [published, one.run, row.device, str(row.threads), f"{row.net}, {row.precision}"]
    cells += [f"{row.ms:.4g}", f"{report.ms:.4g}"]
    return f"| {' | '.join(cells)} | {report.low_ms:.4g}..{report.high_ms:.4g} | {one.error:+.1%}{mark} |"


def summaries(rows: Sequence[Compared]) -> str:
    """One line a runtime, device and number of threads, and one for all rows of one thread and of several."""
    lines = [_summary_line(name, summary(group)) for name, group in _groups(rows)]
    return "\n".join([_SUMMARY_HEADER, *lines])


def _groups(rows: Sequence[Compared]) -> Iterator[tuple[str, list[Compared]]]:
    for single in (True, False):
        some = [one for one in rows if (one.row.threads == 1) is single]
        names = list(dict.fromkeys((one.row.runtime, one.row.device, one.row.threads) for one in some))
        for name in names:
            group = [one for one in some if (one.row.runtime, one.row.device, one.row.threads) == name]
            yield f"{name[0]}, {name[1]}, {name[2]}", group
        if len(names) > 1:
            yield ("all of one thread" if single else "all of several threads"), some


def _summary_line(name: str, of: Summary) -> str:
    shares = " | ".join(f"{share:.0%}" for share in (*of.within, of.inside))
    rank = f"{of.rank_correlation:.3f}" if of.n_rows >= 3 else "–"
    return f"| {name} | {of.n_rows} | {of.bias:+.1%} | {of.mean_absolute_error:.1%} | {shares} | {rank} |"
