"""Room above what calibration saw, for feature maps too, where it costs little.

A hundred samples show the range of a feature map well, but for one new sample in a few hundred, whose extremes are clipped. What these cost is
about the same in every network, but room costs steps: 10 % of it up to 0.8 dB. Where rounding makes much noise, that is far more than clipping
ever costs; where it makes little, the few clipped samples are what is left of the noise.
"""

from __future__ import annotations

import torch
from torch import fx

from edgeds.eager import batch
from edgeds.quantize.ranges import Steps, movable_ranges, noise_to_signal, outputs, steps_of
from edgeds.spec import Samples

# DS-CNN calibrated on three other draws of Fashion-MNIST's training images, the noise on 600 more: 38.4, 38.0 and 37.0 dB without, 39.0, 38.8 and
# 38.4 with 1.1, the same with 1.15 (2026-11).
ROOM = 1.1
# The noise-to-signal ratio that room may add: what clipped samples cost on the mean was 2e-5, 5e-5 and 8e-5 in these three. There room adds 1e-5 to
# 3e-5, in EfficientNet-Lite0 9e-4.
CHEAP = 5e-5
SAMPLES = 32


def add_room(prepared: fx.GraphModule, samples: Samples, size: int) -> bool:
    """Widens the ranges of a calibrated graph's feature maps, in place; False where that would not be cheap.

    Inputs keep their range: what makes them is known to be the same for all. So do ends that a clamp fixes, and values that have room already.
    """
    index, ranges = movable_ranges(prepared)
    wider = [[1.0 if r.is_given or r.has_few else max(1.0, min(ROOM, most)) for most in r.most] for r in ranges]
    if all(factor == 1.0 for factors in wider for factor in factors):
        return False
    ends = torch.tensor([r.ends for r in ranges]).T
    moved = ends * torch.tensor(wider).T
    before, after = (_noise(prepared, _steps(index, x), samples, size) for x in (ends, moved))
    if after - before > CHEAP:
        return False
    for r, low, high in zip(ranges, *moved.tolist(), strict=True):
        r.put(low, high)
    return True


def _steps(index: dict[str, tuple[int, str]], ends: torch.Tensor) -> dict[str, Steps]:
    scale, zero_point = steps_of(*ends)
    return {target: (scale[k : k + 1], zero_point[k : k + 1]) for target, (k, _) in index.items()}


def _noise(prepared: fx.GraphModule, steps: dict[str, Steps], samples: Samples, size: int) -> float:
    """The noise-to-signal ratio of the outputs when activations are rounded: the mean of some batches, from all over."""
    firsts = range(0, len(samples), size)
    count = min(len(firsts), SAMPLES)
    total = 0.0
    with torch.no_grad():
        for k in range(count):
            inputs = batch(samples, firsts[k * len(firsts) // count], size)
            total += float(noise_to_signal(outputs(prepared, steps, inputs), outputs(prepared, {}, inputs)))
    return total / count
