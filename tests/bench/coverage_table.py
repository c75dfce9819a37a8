"""The rows of coverage as a Markdown table."""

from __future__ import annotations

from tests.bench.coverage_row import Cell, Failure, Row

HEADER = (
    "| net | outcome | executorch | onnx | tflite | SQNR dB vs float: PT2E, runtimes | vs PT2E | between runtimes | "
    "ms int8 (fp32): executorch, onnx, tflite | CPU s |\n"
    "|---|---|---|---|---|---|--:|--:|---|--:|"
)
LONGEST = 200  # characters of an error


def line(row: Row) -> str:
    """One net as a line of the table."""
    formats = [_format(cell) for cell in row.cells] or [_failure(row.failure), "", ""]
    against_float = ", ".join([_db(row.pt2e_db), *(_db(a.vs_float_db) for a in row.agreements)])
    against_pt2e = ", ".join(_db(a.vs_pt2e_db) for a in row.agreements)
    times = ", ".join(_times(cell) for cell in row.cells if cell.int8_ms is not None)
    outcome = ": ".join([str(row.outcome), *([", ".join(row.wrong)] if row.wrong else [])])
    if row.cells and row.failure is not None:
        outcome += f" ({_failure(row.failure)})"
    cells = (
        row.net,
        outcome,
        *formats,
        against_float,
        against_pt2e,
        _db(row.runtimes_db),
        times,
        f"{row.cpu_seconds:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _format(cell: Cell) -> str:
    if cell.failure is not None:
        return _failure(cell.failure)
    named = [f"({text})" for text in cell.named]
    return ", ".join(
        [*(cell.leftovers or ["clean"]), *named, *(f"[{text}]" for text in (*cell.remarks, *cell.surprises))]
    )


def _failure(failure: Failure | None) -> str:
    if failure is None:
        return ""
    text = failure.text.replace("|", "/")
    return f"{'refused' if failure.on_purpose else 'crash'}: {text[:LONGEST]}"


def _times(cell: Cell) -> str:
    return f"{cell.int8_ms:.2f}" + ("" if cell.fp32_ms is None else f" ({cell.fp32_ms:.2f})")


def _db(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
