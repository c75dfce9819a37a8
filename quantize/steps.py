"""Learned steps: activation ranges, and channel factors with them, move to where the network's outputs are nearest to the float network's.

The extremes of a tensor over all calibration samples are a few odd places in a few odd images; a narrower range has finer steps for all others.
What that is worth shows only at the outputs: clipping is no independent noise, and what one tensor loses another may need. So both ends of all
ranges are trained together, by gradients through the rounding (learned step size, arxiv.org/abs/1902.08153), and with them the factors of
equalized channels, of which the float network knows nothing; weights are still float, and what rounding them will cost is added in closed form.
Samples that were not trained on judge the result: unless it is clearly better for them too, all stays as it was. If it is, the judges are
trained on as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.utils._pytree import tree_leaves

from edgeds.eager import batch
from edgeds.quantize.annotate import EPS
from edgeds.quantize.balance import ChannelFactors, rescale
from edgeds.quantize.channels import clamp_bounds
from edgeds.quantize.headroom import has_few_elements
from edgeds.quantize.operators import CLAMPS
from edgeds.quantize.watch import Progress
from edgeds.spec import Samples

PASSES = 3  # over the samples that are trained on at first
MORE_PASSES = 2  # over all of them, once they have judged
TOGETHER = 8  # batches whose gradients make one step of the optimizer
RATE = 0.05  # of the logarithms of ends and factors, falling to nothing
JUDGES = 4  # one in so many samples judges: the last ones, so that views of one photo are on one side
# The judges' noise must fall to this share of what it was. What layer by layer correction can no longer do (edgeds.quantize.lockstep) is
# worth about that: EfficientNet-Lite0 with learned ranges loses 0.9 dB (2026-11).
WORTH = 0.7
SEED = 0
# Noise-to-signal ratio of the float outputs under other channel factors, in which only rounding differs: more than that undoes them.
TOLERANCE = 1e-6
LOW, HIGH = -128, 127


@dataclass(frozen=True, slots=True)
class _Range:
    """What the tensors of one observer share: its ends, and how much further each may go, as a factor, to stay within a clamp's.

    Rounding to a wider range would not be the clamp any more, and LiteRT compute it in float.
    """

    observer: Any
    ends: tuple[float, float]
    most: tuple[float, float]


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

    `size` is the graph's batch. Ranges that are fixed, or of values of which a sample has few (edgeds.quantize.headroom), are left alone.
    """
    trial = _Trial(prepared, samples, size, factors)
    judges = trial.count // JUDGES
    if not trial.ranges or not judges or not trial.exact[0]:
        return False
    first, second = _halves(progress)
    start = trial.start()
    learned = _trained(trial, start, trial.count - judges, PASSES, RATE, first)
    with torch.no_grad():
        before, after = (trial.errors(found, range(trial.count - judges, trial.count)) for found in (start, learned))
    if after > WORTH * before:
        second(1, 1)
        return False
    return trial.put(_trained(trial, learned, trial.count, MORE_PASSES, RATE / 2, second))


class _Trial:
    """How far the outputs are off with other ranges and channel factors."""

    def __init__(
        self, prepared: fx.GraphModule, samples: Samples, size: int, factors: ChannelFactors | None = None
    ) -> None:
        self._prepared = prepared
        self._factors = factors
        self._batches = [batch(samples, first, size) for first in range(0, len(samples), size)]
        self._index, self.ranges = _ranges(prepared)
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
        pairs = zip(self._outputs(learned, k), self.exact[k], strict=True)
        return torch.stack([(y - x).square().sum() / x.square().sum().clamp_min(1e-12) for y, x in pairs]).sum()

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
        before = {name: value.clone() for name, value in self._prepared.state_dict().items()}
        for r, low, high in zip(self.ranges, *(self._base * learned.ends.exp()).tolist(), strict=True):
            r.observer.min_val, r.observer.max_val = torch.tensor(low), torch.tensor(high)
        if self._factors:
            rescale(self._prepared, self._factors, (learned.channels - self._chosen()).exp())
        with torch.no_grad():
            pairs = [zip(self._outputs(None, k), self.exact[k], strict=True) for k in range(self.count)]
        same = all((y - x).square().sum() <= TOLERANCE * x.square().sum() for pair in pairs for y, x in pair)
        if not same:
            self._prepared.load_state_dict(before)
        return same

    def _chosen(self) -> torch.Tensor:
        return self._factors.chosen.log() if self._factors else torch.zeros(1)

    def _outputs(self, learned: _Learned | None, k: int) -> list[torch.Tensor]:
        graph = _Simulated(self._prepared, self._rounding(learned) if learned else {})
        return [y for y in tree_leaves(graph.run(*self._batches[k])) if y.is_floating_point()]

    def _rounding(self, learned: _Learned) -> dict[str, _Steps]:
        """The steps of each observer's node."""
        low, high = self._base * learned.ends.exp()
        scale = ((high - low) / (HIGH - LOW)).clamp_min(EPS)
        zero_point = LOW - low / scale
        more = (learned.channels - self._chosen()).exp()
        found: dict[str, _Steps] = {}
        for target, (k, source) in self._index.items():
            numbers = self._factors.of.get(source) if self._factors else None
            over = torch.ones(1) if numbers is None else more[numbers]
            found[target] = scale[k] / over, zero_point[k].expand(len(over))
        return found


_Steps = tuple[torch.Tensor, torch.Tensor]  # scale and zero point, of a tensor [1] or of its channels (axis 1) [C]


def _trained(
    trial: _Trial, start: _Learned, count: int, passes: int, rate: float, progress: Progress
) -> _Learned:
    """What Adam finds, from `start` on, for the first `count` batches."""
    rounds = max(1, passes * count // TOGETHER)
    learned = start.copied()
    adam = torch.optim.Adam([learned.ends, learned.channels], lr=rate)
    for done, chosen in enumerate(_draws(count, rounds), 1):
        adam.param_groups[0]["lr"] = rate * (1 - (done - 1) / rounds)
        adam.zero_grad()
        with torch.enable_grad():
            for k in chosen:
                trial.error(learned, k).backward()  # type: ignore[no-untyped-call]  # torch has no types there
            if (noise := trial.weight_noise(learned)).requires_grad:
                (len(chosen) * noise).backward()  # type: ignore[no-untyped-call]  # torch has no types there
        adam.step()
        with torch.no_grad():
            trial.bound(learned)
        progress(done, rounds)
    return learned.detached()


class _Simulated(fx.Interpreter):
    """A calibrated graph with float weights, whose activations are rounded with the steps of their observers' nodes, if there are some."""

    def __init__(self, prepared: fx.GraphModule, steps: Mapping[str, _Steps]) -> None:
        super().__init__(prepared)
        self._steps = steps

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        (x,) = args
        if target not in self._steps:
            return x
        # a learned step size: inside of the range the gradient of the rounding is 1, outside what moves is the range's end
        scale, zero_point = self._steps[target]
        if len(scale) == 1:
            return torch._fake_quantize_learnable_per_tensor_affine(x, scale, zero_point, LOW, HIGH)
        return torch._fake_quantize_learnable_per_channel_affine(x, scale, zero_point, 1, LOW, HIGH)


def _ranges(prepared: fx.GraphModule) -> tuple[dict[str, tuple[int, str]], list[_Range]]:
    """Which range each observer's node has, and the value that it observes; only of those that are trained."""
    observed: dict[Any, list[fx.Node]] = {}
    for node in prepared.graph.nodes:
        if node.op == "call_module" and node.args[0].op != "get_attr":
            observed.setdefault(getattr(prepared, str(node.target)), []).append(node)
    index: dict[str, tuple[int, str]] = {}
    ranges: list[_Range] = []
    for observer, nodes in observed.items():
        sources: list[Any] = [node.args[0] for node in nodes]
        if hasattr(observer, "min_val") and not any(map(has_few_elements, sources)):
            index |= {str(node.target): (len(ranges), node.args[0].name) for node in nodes}  # type: ignore[union-attr]  # see sources
            ranges.append(_range(observer, sources))
    return index, ranges


def _range(observer: Any, sources: Sequence[fx.Node]) -> _Range:
    ends = min(float(observer.min_val), 0.0), max(float(observer.max_val), 0.0)
    bounds = [clamp_bounds(source) for source in sources if source.target in CLAMPS]
    most = [min((b[k] / ends[k] for b in bounds if b[k] * ends[k] > 0), default=math.inf) for k in (0, 1)]
    return _Range(observer, ends, (most[0], most[1]))


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
