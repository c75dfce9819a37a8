"""The scale of each channel that costs the least: minimises the noise that int8 makes at the outputs, to first order.

A tensor's step follows from its widest channel, so a narrow channel has few steps; scaled up by its factor g it has g times as many, and the
weights that read it are divided by g, which may widen the step of their own output channel. Both noises are known in closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

ACTIVATION_LEVELS = 255
WEIGHT_LEVELS = 127
STEPS = 250
RATE = 0.1  # of log-factors: a tenth a step, to nothing at the end
FINAL_RATE = 0.002


@dataclass(frozen=True, slots=True)
class Activation:
    """One quantized tensor: for each channel its factor, how far it reaches below and above 0, and its sensitivity; [C] each."""

    factor: torch.Tensor
    below: torch.Tensor
    above: torch.Tensor
    sensitivity: torch.Tensor


@dataclass(frozen=True, slots=True)
class Reader:
    """Weights that read channels. `factor` [G, I] of each input; `widest` [G, O, I], the largest weight of a kernel; `power` [G, I], the sum
    over a kernel of the mean square of what it reads; `sensitivity` [G, O] of each output."""

    factor: torch.Tensor
    widest: torch.Tensor
    power: torch.Tensor
    sensitivity: torch.Tensor


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the greatest factor of each, [count]."""

    low: torch.Tensor
    high: torch.Tensor


def noise(scale: torch.Tensor, groups: Sequence[Sequence[Activation]], readers: Sequence[Reader]) -> torch.Tensor:
    """The noise-to-signal ratio at the outputs with these scales [count]; the tensors of a group have one step."""
    total = torch.zeros(())
    for group in groups:
        step = (_widest(scale, group, above=True) + _widest(scale, group, above=False)) / ACTIVATION_LEVELS
        read = torch.stack([(t.sensitivity / scale[t.factor].square()).sum() for t in group]).sum()
        total = total + step.square() / 12 * read
    for reader in readers:
        given = scale[reader.factor]
        step = (reader.widest / given.unsqueeze(1)).amax(2) / WEIGHT_LEVELS
        power = (reader.power * given.square()).sum(1, keepdim=True)
        total = total + (step.square() / 12 * power * reader.sensitivity).sum()
    return total


def best_factors(
    groups: Sequence[Sequence[Activation]], readers: Sequence[Reader], bounds: Bounds
) -> tuple[torch.Tensor, float, float]:
    """The factors [count] with the least noise that Adam finds from 1 on, that noise, and the noise with factors of 1."""
    low, high = bounds.low.log(), bounds.high.log()
    with torch.enable_grad():
        logs = torch.zeros_like(low, requires_grad=True)
        adam = torch.optim.Adam([logs], lr=RATE)
        best, least, first = torch.ones_like(low), float("inf"), 0.0
        for step in range(STEPS):
            adam.param_groups[0]["lr"] = RATE + (FINAL_RATE - RATE) * step / STEPS
            total = noise(logs.exp(), groups, readers)
            first = first if step else total.item()
            if total.item() < least:
                best, least = logs.detach().exp(), total.item()
            adam.zero_grad()
            total.log().backward()  # type: ignore[no-untyped-call]  # torch has no types there
            adam.step()
            with torch.no_grad():
                logs.clamp_(low, high)
    return best, least, first


def _widest(scale: torch.Tensor, group: Sequence[Activation], above: bool) -> torch.Tensor:
    return torch.stack([(scale[t.factor] * (t.above if above else t.below)).amax() for t in group]).amax()
