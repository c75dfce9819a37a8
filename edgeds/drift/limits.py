"""Judges drift reports by limits: the only place that decides whether an artifact is good enough."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from edgeds.spec import DriftLimits, DriftReport, Precision

REFERENCE = "float"  # artifacts are judged against the float model alone; the other comparisons explain


def judge(reports: Sequence[DriftReport], precisions: Collection[Precision], limits: DriftLimits) -> tuple[str, ...]:
    """One sentence for each limit that is exceeded, naming subject, number and limit; empty where all is well.

    Only artifacts (subjects ARTIFACT@RUNTIME) of these `precisions`, compared with `float`, are judged. A number that
    equals its limit passes; NaN never does. ValueError for an artifact whose name does not say its precision.
    """
    judged = [
        (r, precision)
        for r in reports
        if r.reference == REFERENCE and (precision := precision_of(r.subject)) in precisions
    ]
    int8 = [r for r, precision in judged if precision is Precision.INT8]
    sentences = [s for r, precision in judged for s in _judge_one(r, precision is Precision.INT8, limits)]
    return (*sentences, *_judge_spread(int8, limits.max_runtime_spread_db))


def precision_of(subject: str) -> Precision | None:
    """What `onnx-int8@onnxruntime` computes in; None for a subject that is no artifact (`pt2e`)."""
    if "@" not in subject:
        return None
    match = re.search(rf"-({'|'.join(Precision)})@", subject)
    if match is None:
        raise ValueError(f"the subject {subject!r} does not say its precision, like onnx-int8@onnxruntime")
    return Precision(match[1])


def _judge_one(report: DriftReport, is_int8: bool, limits: DriftLimits) -> list[str]:
    sentences = []
    sqnr_limit = limits.min_int8_sqnr_db if is_int8 else limits.min_fp32_sqnr_db
    if not report.sqnr_db >= sqnr_limit:
        number, limit = _apart(report.sqnr_db, sqnr_limit)
        sentences.append(f"{report.subject}: SQNR {number} dB against float is under the limit of {limit} dB")
    agreement, agreement_limit = report.top1_agreement, limits.min_int8_top1_agreement
    if is_int8 and agreement is not None and not agreement >= agreement_limit:
        number, limit = _apart(100 * agreement, 100 * agreement_limit)
        sentences.append(f"{report.subject}: top-1 agreement {number} % with float is under the limit of {limit} %")
    return sentences


def _judge_spread(int8: Sequence[DriftReport], spread_limit_db: float) -> list[str]:
    if not int8:
        return []
    best, worst = max(int8, key=lambda r: r.sqnr_db), min(int8, key=lambda r: r.sqnr_db)
    # inf - inf is NaN, but two identical outputs lie nowhere apart
    spread_db = 0.0 if best.sqnr_db == worst.sqnr_db else best.sqnr_db - worst.sqnr_db
    if spread_db <= spread_limit_db:
        return []
    number, limit = _apart(spread_db, spread_limit_db)
    between = f"{best.subject} {best.sqnr_db:.1f} dB, {worst.subject} {worst.sqnr_db:.1f} dB"
    return [f"int8 runtimes: SQNR against float lies {number} dB apart ({between}), over the limit of {limit} dB"]


def _apart(number: float, limit: float) -> tuple[str, str]:
    """Both as text with one decimal, or with as many as it takes to see that they differ."""
    for digits in range(1, 12):
        texts = f"{number:.{digits}f}", f"{limit:.{digits}f}"
        if texts[0] != texts[1]:
            break
    return texts
