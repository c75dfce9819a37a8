"""Learned steps: activation ranges move to where the network's outputs are nearest to the float network's.

The extremes of a tensor over all calibration samples are a few odd places in a few odd images; a narrower range has finer steps for all others.
What that is worth shows only at the outputs: clipping is no independent noise, and what one tensor loses another may need. So all ranges are
trained together, by gradients through the rounding (learned step size, arxiv.org/abs/1902.08153), one factor a range, while weights are still
float. Samples that were not trained on judge the result: unless it is clearly better for them too, the ranges stay as they were. If it is, the
judges are trained on as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.utils._pytree import tree_leaves

from edgeds.eager import batch
from edgeds.quantize.channels import clamp_bounds
from edgeds.quantize.operators import CLAMPS
from edgeds.quantize.tail import has_few_elements
from edgeds.quantize.watch import Progress
from edgeds.spec import Samples

PASSES = 3  # over the samples that are trained on at first
MORE_PASSES = 2  # over all of them, once they have judged
TOGETHER = 8  # batches whose gradients make one step of the optimizer
RATE = 0.05  # of the logarithms of the factors, falling to nothing
JUDGES = 4  # one in so many samples judges: the last ones, so that views of one photo are on one side
# The judges' noise must fall to this share of what it was. What layer by layer correction can no longer do (edgeds.quantize.lockstep) is
# worth about that: EfficientNet-Lite0 with learned ranges loses 0.9 dB (2026-11).
WORTH = 0.7
SEED = 0


@dataclass(frozen=True, slots=True)
class _Range:
    """What the tensors of one observer share. `most`: with a greater factor the range would reach beyond what a clamp lets through.

    Rounding to it would then not be the clamp any more, and LiteRT compute it in float.
    """

    observer: Any
    scale: float
    zero_point: int
    most: float


def learn_steps(prepared: fx.GraphModule, samples: Samples, size: int, progress: Progress) -> bool:
    """Trains the ranges of a calibrated graph's observers, in place; False where they were about as good as they were.

    `size` is the graph's batch. Ranges that are fixed, or of values of which a sample has few (edgeds.quantize.tail), are left alone.
    """
    trial = _Trial(prepared, samples, size)
    judges = trial.count // JUDGES
    if not trial.ranges or not judges or not trial.exact[0]:
        return False
    first, second = _halves(progress)
    logs = torch.zeros(len(trial.ranges))
    learned = _trained(trial, logs, trial.count - judges, PASSES, RATE, first)
    with torch.no_grad():
        before, after = (trial.errors(found, range(trial.count - judges, trial.count)) for found in (logs, learned))
    if after > WORTH * before:
        second(1, 1)
        return False
    learned = _trained(trial, learned, trial.count, MORE_PASSES, RATE / 2, second)
    for r, factor in zip(trial.ranges, learned.exp().tolist(), strict=True):
        r.observer.min_val, r.observer.max_val = r.observer.min_val * factor, r.observer.max_val * factor
    return True


class _Trial:
    """How far the outputs are off with ranges that are wider by factors, whose logarithms are given."""

    def __init__(self, prepared: fx.GraphModule, samples: Samples, size: int) -> None:
        self._prepared = prepared
        self._batches = [batch(samples, first, size) for first in range(0, len(samples), size)]
        self._index, self.ranges = _ranges(prepared)
        self.count = len(self._batches)
        with torch.no_grad():
            self.exact = [self._outputs(None, k) for k in range(self.count)]

    def errors(self, logs: torch.Tensor, batches: Iterable[int]) -> float:
        """The noise-to-signal ratios of batches, summed up."""
        return sum(float(self.error(logs, k)) for k in batches)

    def error(self, logs: torch.Tensor, k: int) -> torch.Tensor:
        """The noise-to-signal ratio of batch `k`, of all outputs summed up."""
        pairs = zip(self._outputs(logs.exp(), k), self.exact[k], strict=True)
        return torch.stack([(y - x).square().sum() / x.square().sum().clamp_min(1e-12) for y, x in pairs]).sum()

    def _outputs(self, factors: torch.Tensor | None, k: int) -> list[torch.Tensor]:
        made = _Simulated(self._prepared, self._index, self.ranges, factors).run(*self._batches[k])
        return [y for y in tree_leaves(made) if y.is_floating_point()]


def _trained(
    trial: _Trial, start: torch.Tensor, count: int, passes: int, rate: float, progress: Progress
) -> torch.Tensor:
    """The logarithms of factors that Adam finds, from `start` on, for the first `count` batches."""
    rounds = max(1, passes * count // TOGETHER)
    logs = start.clone().requires_grad_()
    most = torch.tensor([r.most for r in trial.ranges]).log()
    adam = torch.optim.Adam([logs], lr=rate)
    for done, chosen in enumerate(_draws(count, rounds), 1):
        adam.param_groups[0]["lr"] = rate * (1 - (done - 1) / rounds)
        adam.zero_grad()
        for k in chosen:
            with torch.enable_grad():
                trial.error(logs, k).backward()  # type: ignore[no-untyped-call]  # torch has no types there
        adam.step()
        with torch.no_grad():
            logs.clamp_(max=most)
        progress(done, rounds)
    return logs.detach()


class _Simulated(fx.Interpreter):
    """A calibrated graph with float weights, whose activations are rounded within ranges that are wider by `factors`, or not at all."""

    def __init__(
        self, prepared: fx.GraphModule, index: Mapping[str, int], ranges: Sequence[_Range], factors: torch.Tensor | None
    ) -> None:
        super().__init__(prepared)
        self._index, self._ranges, self._factors = index, ranges, factors

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        (x,) = args
        k = self._index.get(target)
        if k is None or self._factors is None:
            return x
        factor, r = self._factors[k], self._ranges[k]
        # PyTorch's gradient of the rounding is 1 inside of the range and 0 outside, which makes this a learned step size
        return factor * torch.fake_quantize_per_tensor_affine(x / factor, r.scale, r.zero_point, -128, 127)


def _ranges(prepared: fx.GraphModule) -> tuple[dict[str, int], list[_Range]]:
    """Which range each observer's node has; only of those that are trained."""
    observed: dict[Any, list[fx.Node]] = {}
    for node in prepared.graph.nodes:
        if node.op == "call_module" and node.args[0].op != "get_attr":
            observed.setdefault(getattr(prepared, str(node.target)), []).append(node)
    index: dict[str, int] = {}
    ranges: list[_Range] = []
    for observer, nodes in observed.items():
        sources: list[Any] = [node.args[0] for node in nodes]
        if hasattr(observer, "min_val") and not any(map(has_few_elements, sources)):
            scale, zero_point = observer.calculate_qparams()
            index |= {str(node.target): len(ranges) for node in nodes}
            ranges.append(_Range(observer, float(scale), int(zero_point), min(_most(observer, x) for x in sources)))
    return index, ranges


def _most(observer: Any, source: fx.Node) -> float:
    """The factor with which a range ends where the clamp that made its values does."""
    if source.target not in CLAMPS:
        return math.inf
    low, high = clamp_bounds(source)
    ends = ((float(observer.min_val), low), (float(observer.max_val), high))
    return min((limit / end for end, limit in ends if limit * end > 0), default=math.inf)


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
