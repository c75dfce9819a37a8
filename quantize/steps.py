"""Learned steps: activation ranges, and channel factors with them, move to where the network's outputs are nearest to the float network's.

The extremes of a tensor over all calibration samples are a few odd places in a few odd images; a narrower range has finer steps for all others.
What that is worth shows only at the outputs: clipping is no independent noise, and what one tensor loses another may need. So both ends of all
ranges are trained together, by gradients through the rounding (learned step size, arxiv.org/abs/1902.08153), and with them the factors of
equalized channels, of which the float network knows nothing; weights are still float, and what rounding them will cost is added in closed form.
Samples that were not trained on judge the result: unless it is clearly better for them too, all stays as it was. If it is, the judges are
trained on as well.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import fx

from edgeds.eager import batch
from edgeds.quantize.balance import ChannelFactors, rescale
from edgeds.quantize.ranges import Steps, movable_ranges, noise_to_signal, outputs, steps_of
from edgeds.quantize.watch import Progress
from edgeds.spec import Samples

PASSES = 3  # over the samples that are trained on at first
MORE_PASSES = 2  # over all of them, once they have judged
TOGETHER = 8  # batches whose gradients make one step of the optimizer
RATE = 0.05  # of the logarithms of ends and channel factors, falling to nothing
JUDGES = 4  # one in so many samples judges: the last ones, so that views of one photo are on one side
# The judges' noise must fall to this share of what it was. What layer by layer correction can no longer do (edgeds.quantize.lockstep) is
# worth about that: EfficientNet-Lite0 with learned ranges loses 0.9 dB (2026-11).
WORTH = 0.7
SEED = 0
# Samples that channel factors need: there are many of them. A small net with squeeze-and-excite had 36.7 dB after learning them from 16 samples,
# 41.0 without them and 40.6 with nothing learned (2026-11).
MANY = 32
CHECKED = 8  # batches on which the float network with other channel factors is compared with what it was
TOLERANCE = 1e-6  # of the noise-to-signal ratio between the two


@dataclass(frozen=True, slots=True)
class _Learned:
    """What is trained, as logarithms: `ends` [2, ranges] of factors of the low and high ends; `channels` [count] of channel factors."""

    ends: torch.Tensor
    channels: torch.Tensor

    def copied(self) -> _Learned:
        """To be trained."""
        return _Learned(self.ends.clone().requires_grad_(), self.channels.clone().requires_grad_())

    def detached(self) -> _Learned:
        """No more to be trained."""
        return _Learned(self.ends.detach(), self.channels.detach())


def learn_steps(
    prepared: fx.GraphModule, samples: Samples, size: int, progress: Progress, factors: ChannelFactors | None = None
) -> bool:
    """Trains the ranges of a calibrated graph's observers and its channel factors, in place; False where they were about as good as they were.

    `size` is the graph's batch. Ranges that are fixed, or of values of which a sample has few (edgeds.quantize.tail), are left alone;
    so are channel factors where there are few samples.
    """
    trial = _Trial(prepared, samples, size, factors if len(samples) >= MANY else None)
    judges = trial.count // JUDGES
    if not trial.ranges or not judges or not trial.exact[0]:
        return False
    first, second = _halves(progress)
    start = trial.start()
    learned = _trained(trial, start, trial.count - judges, PASSES, 1.0, first)
    with torch.no_grad():
        before, after = (trial.errors(found, range(trial.count - judges, trial.count)) for found in (start, learned))
    if after > WORTH * before:
        second(1, 1)
        return False
    return trial.put(_trained(trial, learned, trial.count, MORE_PASSES, 0.5, second))


class _Trial:
    """How far the outputs are off with other ranges and channel factors."""

    def __init__(
        self, prepared: fx.GraphModule, samples: Samples, size: int, factors: ChannelFactors | None = None
    ) -> None:
        self._prepared = prepared
        self._factors = factors
        self._batches = [batch(samples, first, size) for first in range(0, len(samples), size)]
        index, ranges = movable_ranges(prepared)
        trained = [k for k, r in enumerate(ranges) if not r.has_few]
        self.ranges = [ranges[k] for k in trained]
        self._index = {target: (trained.index(k), source) for target, (k, source) in index.items() if k in trained}
        self._base = torch.tensor([r.ends for r in self.ranges]).T
        self._most = torch.tensor([r.most for r in self.ranges]).T.log()
        self.count = len(self._batches)
        with torch.no_grad():
            self.exact = [self._outputs(None, k) for k in range(self.count)]

    def start(self) -> _Learned:
        """Everything as it is."""
        return _Learned(torch.zeros_like(self._base), self._chosen().clone())

    def errors(self, learned: _Learned, batches: Sequence[int]) -> float:
        """The noise-to-signal ratios of batches, summed up."""
        return sum(float(self.error(learned, k)) for k in batches) + len(batches) * float(self.weight_noise(learned))

    def error(self, learned: _Learned, k: int) -> torch.Tensor:
        """The noise-to-signal ratio of batch `k`, of all outputs summed up, with float weights."""
        return noise_to_signal(self._outputs(learned, k), self.exact[k])

    def weight_noise(self, learned: _Learned) -> torch.Tensor:
        """The noise-to-signal ratio that rounding weights will add to it."""
        return self._factors.weight_noise(learned.channels) if self._factors else torch.zeros(())

    def bound(self, learned: _Learned) -> None:
        """Brings what went too far back, in place."""
        learned.ends.copy_(torch.minimum(learned.ends, self._most))
        if self._factors:
            bounds = self._factors.bounds
            learned.channels.copy_(learned.channels.clamp(bounds.low.log(), bounds.high.log()))

    def put(self, learned: _Learned) -> bool:
        """Gives the graph what was learned, unless its float outputs are others then."""
        more = (learned.channels - self._chosen()).exp()
        if self._factors and not self._computes_the_same(self._factors, more):
            return False
        for r, low, high in zip(self.ranges, *(self._base * learned.ends.exp()).tolist(), strict=True):
            r.put(low, high)
        if self._factors:
            rescale(self._prepared, self._factors, more)
        return True

    def _computes_the_same(self, factors: ChannelFactors, more: torch.Tensor) -> bool:
        scaled = copy.deepcopy(self._prepared)
        rescale(scaled, factors, more)
        checked = range(0, self.count, -(-self.count // CHECKED))
        with torch.no_grad():
            off = [float(noise_to_signal(outputs(scaled, {}, self._batches[k]), self.exact[k])) for k in checked]
        return max(off) <= TOLERANCE

    def _chosen(self) -> torch.Tensor:
        return self._factors.chosen.log() if self._factors else torch.zeros(1)

    def _outputs(self, learned: _Learned | None, k: int) -> list[torch.Tensor]:
        return outputs(self._prepared, self._steps(learned) if learned else {}, self._batches[k])

    def _steps(self, learned: _Learned) -> dict[str, Steps]:
        """The steps of each observer's node: a channel that is scaled by more has smaller ones."""
        scale, zero_point = steps_of(*(self._base * learned.ends.exp()))
        more = (learned.channels - self._chosen()).exp()
        found: dict[str, Steps] = {}
        for target, (k, source) in self._index.items():
            numbers = self._factors.of.get(source) if self._factors else None
            over = torch.ones(1) if numbers is None else more[numbers]
            found[target] = scale[k] / over, zero_point[k].expand(len(over))
        return found


def _trained(trial: _Trial, start: _Learned, count: int, passes: int, share: float, progress: Progress) -> _Learned:
    """What Adam finds, from `start` on, for the first `count` batches; `share` of the rate to begin with."""
    rounds = max(1, passes * count // TOGETHER)
    learned = start.copied()
    adam = torch.optim.Adam([learned.ends, learned.channels], lr=RATE)
    falling = torch.optim.lr_scheduler.LambdaLR(adam, lambda done: share * (1 - done / rounds))
    for done, chosen in enumerate(_draws(count, rounds), 1):
        adam.zero_grad()
        with torch.enable_grad():
            for k in chosen:
                trial.error(learned, k).backward()  # type: ignore[no-untyped-call]  # torch has no types there
            if (noise := trial.weight_noise(learned)).requires_grad:
                (len(chosen) * noise).backward()  # type: ignore[no-untyped-call]  # torch has no types there
        adam.step()
        falling.step()
        with torch.no_grad():
            trial.bound(learned)
        progress(done, rounds)
    return learned.detached()


def _draws(count: int, rounds: int) -> Iterator[list[int]]:
    """For each round what it learns from; all of them once, in random order, before any comes again."""
    generator = torch.Generator().manual_seed(SEED)
    waiting: list[int] = []
    for _ in range(rounds):
        while len(waiting) < TOGETHER:
            waiting += torch.randperm(count, generator=generator).tolist()
        yield waiting[:TOGETHER]
        waiting = waiting[TOGETHER:]


def _halves(progress: Progress) -> tuple[Progress, Progress]:
    return (lambda done, total: progress(done, 2 * total)), (lambda done, total: progress(total + done, 2 * total))
