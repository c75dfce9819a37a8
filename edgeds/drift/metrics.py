"""How far one set of outputs is from another. Pure functions of numpy arrays; all sums are taken in float64."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from edgeds.errors import DataError, EdgedsError, LimitError, ModelError, ToolError
from edgeds.spec import Array, DriftReport


@dataclass(frozen=True, slots=True)
class _Sums:
    """What SQNR, cosine and maximum are made of."""

    reference: float  # sum of squares
    other: float
    product: float
    noise: float
    max_abs_error: float

    @property
    def sqnr_db(self) -> float:
        if self.noise == 0:
            return math.inf
        return 10 * math.log10(self.reference / self.noise) if self.reference > 0 else -math.inf

    @property
    def cosine(self) -> float:
        if self.reference == 0 or self.other == 0:
            return 1.0 if self.noise == 0 else 0.0
        # one root of the product: exactly 1 for identical outputs; np.clip, because min and max lose a NaN
        return float(np.clip(self.product / math.sqrt(self.reference * self.other), -1.0, 1.0))


def _sums(reference: Array, other: Array) -> _Sums:
    if reference.shape != other.shape:
        raise ValueError(f"cannot compare an output of shape {reference.shape} with one of shape {other.shape}")
    a, b = reference.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    difference = a - b
    return _Sums(
        float(a @ a),
        float(b @ b),
        float(a @ b),
        float(difference @ difference),
        float(np.abs(difference).max(initial=0.0)),
    )


def sqnr_db(reference: Array, other: Array) -> float:
    """Signal to quantization noise, 10 log10(Σ ref² / Σ (ref - other)²) in dB, over all elements.

    inf where both are identical, -inf where the reference is all zero and the other is not, NaN where either holds one.
    Both arrays have the same shape, any; a ValueError if not.
    """
    return _sums(reference, other).sqnr_db


def cosine(reference: Array, other: Array) -> float:
    """Cosine of the angle between both arrays, taken as vectors: 1 where both are all zero, 0 where one of them is."""
    return _sums(reference, other).cosine


def max_abs_error(reference: Array, other: Array) -> float:
    """The largest |ref - other|, in units of the output."""
    return _sums(reference, other).max_abs_error


def top1_agreement(reference: Array, other: Array) -> float | None:
    """Share of inputs whose highest score has the same index in both, 0..1; among equal scores the first one counts.

    reference, other: [N, C] or [N, C, 1, 1] with C ≥ 2. None for any other shape: that is no vector of scores.
    """
    shape = reference.shape
    if len(shape) not in (2, 4) or shape[0] == 0 or shape[1] < 2 or shape[2:] not in ((), (1, 1)):
        return None
    return float(np.mean(reference.reshape(shape[:2]).argmax(axis=1) == other.reshape(shape[:2]).argmax(axis=1)))


def lsb_histogram(reference: Array, other: Array, scale: float) -> tuple[tuple[int, int], ...]:
    """How many elements differ by how many quantization steps: (steps, count), absolute, rounded, ascending.

    `scale` is one step in units of the output; ValueError unless it is positive and finite.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"a quantization step of {scale} is not positive and finite")
    steps = np.rint(np.abs(reference.astype(np.float64) - other.astype(np.float64)) / scale).astype(np.int64)
    values, counts = np.unique(steps, return_counts=True)
    return tuple(zip(values.tolist(), counts.tolist(), strict=True))


def compare(
    subject: str,
    reference_name: str,
    outputs: tuple[Array, ...],
    reference_outputs: tuple[Array, ...],
    scales: tuple[float, ...] | None,
) -> DriftReport:
    """How far `subject`'s outputs are from the reference's: of several outputs, the worst one's numbers.

    outputs[k], reference_outputs[k]: float32 [N, ...]. `scales` has the quantization step of each output, 0 for one that is not
    quantized, None where the artifact has none (float). Top-1 agreement looks at the first output, the histogram at all that are
    quantized.
    Raises DataError without any input, ToolError where the shapes differ, and for NaN or infinity LimitError, or ModelError
    where it is the float model that computes it.
    """
    _check_shapes(subject, reference_name, outputs, reference_outputs)
    check_finite(reference_name, reference_outputs)  # first: a NaN of the float model is not quantization's fault
    check_finite(subject, outputs)
    pairs = list(zip(reference_outputs, outputs, strict=True))
    sums = [_sums(reference, output) for reference, output in pairs]
    steps: Counter[int] = Counter()
    for (reference, output), scale in zip(pairs, scales, strict=True) if scales is not None else ():
        if scale != 0:
            steps.update(dict(lsb_histogram(reference, output, scale)))
    return DriftReport(
        subject=subject,
        reference=reference_name,
        n_inputs=len(outputs[0]),
        sqnr_db=min(one.sqnr_db for one in sums),
        cosine=min(one.cosine for one in sums),
        max_abs_error=max(one.max_abs_error for one in sums),
        top1_agreement=top1_agreement(*pairs[0]),
        lsb_histogram=tuple(sorted(steps.items())),
        output_sqnr_db=tuple(one.sqnr_db for one in sums) if len(sums) > 1 else (),
    )


def _check_shapes(subject: str, reference_name: str, outputs: tuple[Array, ...], reference: tuple[Array, ...]) -> None:
    got, wanted = [list(a.shape) for a in outputs], [list(a.shape) for a in reference]
    if got != wanted:
        raise ToolError(
            f"{subject} returns outputs of shapes {got} but {reference_name} has {wanted}; "
            "the artifact is not this model's: export it again"
        )
    if not outputs or any(a.size == 0 for a in outputs):
        raise DataError(
            f"{subject} cannot be compared with {reference_name} over outputs of shapes {got}; give at least one input"
        )


def check_finite(name: str, outputs: tuple[Array, ...]) -> None:
    """NaN would pass every `<` of a limit, so it never gets as far as a number."""
    bad = sum(int(np.size(a) - np.count_nonzero(np.isfinite(a))) for a in outputs)
    if bad:
        what = f"{name} computes NaN or infinity in {bad} of {sum(a.size for a in outputs)} output elements"
        error: type[EdgedsError] = ModelError if name == "float" else LimitError
        raise error(f"{what}; check the weights and the preprocessing of the inputs")
