"""The report of `edgeds evaluate`: a line for each subject, what differs in a sentence, and the samples that they disagree on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgeds.folders import shown
from edgeds.report.rows import NONE, percent, runtime_name
from edgeds.results import Accuracy, Disagreement, Evaluation, Share

SCHEMA_VERSION = 1  # 1 = edgeds 0.1, the first
MOST_SAMPLES = 12
SIGNIFICANT = 0.05


def evaluation_report(found: Evaluation) -> list[RenderableType]:
    """What to print, from top to bottom."""
    samples = f"{found.data.n_samples} labelled samples of {found.data.source}"
    head = Text.assemble((shown(found.model), "bold"), f" · {shown(samples)}")
    parts: list[RenderableType] = [head, _table(found), *(Text(line) for line in verdicts(found.accuracy))]
    if found.disagreements:
        parts.append(Group(Text(), _samples(found)))
    parts += [Text.assemble(("warning:", "bold yellow"), f" {shown(warning)}") for warning in found.warnings]
    return parts


def evaluation_json(found: Evaluation) -> dict[str, Any]:
    """The same as JSON values, with every disagreement; classes are indices, `classes` names them."""
    content = {"schema_version": SCHEMA_VERSION, **asdict(found)}
    for raw, accuracy in zip(content["accuracy"], found.accuracy, strict=True):
        for key in ("top1", "top5"):
            part: Share | None = getattr(accuracy, key)
            raw[key] = part and {"value": part.value, **asdict(part)}
    return content


def verdicts(accuracy: tuple[Accuracy, ...]) -> list[str]:
    """A sentence for each artifact that differs from the float model by more than chance explains; one sentence where none does."""
    tested = [one for one in accuracy if one.p_value is not None]
    different = [one for one in tested if one.p_value is not None and one.p_value < SIGNIFICANT]
    if not different:
        least = min((one.p_value for one in tested if one.p_value is not None), default=None)
        return (
            []
            if least is None
            else [f"None differs from the float model by more than chance explains (McNemar, p ≥ {_p(least)})."]
        )
    return [
        f"{one.subject} is {'worse' if one.lost > one.won else 'better'} than the float model by {100 * abs(one.won - one.lost) / one.top1.total:.2f} points, "
        f"more than chance explains (McNemar, p {_compared(one.p_value)})."
        for one in different
    ]


def _table(found: Evaluation) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    table.add_column("\nruntime", overflow="fold")
    for heading in ("top-1\n%", "95 %\ninterval", "top-5\n%", "lost\n", "won\n", "McNemar\np", "as float\n%"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in found.accuracy:
        is_float = one.p_value is None
        against = [NONE] * 4 if is_float else [str(one.lost), str(one.won), _p(one.p_value), percent(one.agreement)]
        interval = f"{100 * one.top1.low:.1f}{NONE}{100 * one.top1.high:.1f}"
        name = "PyTorch float" if is_float else runtime_name(one.subject)
        cells = (name, f"{100 * one.top1.value:.2f}", interval, _top5(one), *against)
        table.add_row(*map(Text, cells), style="dim" if is_float else "")
    return Group(Text(), table, Text())


def _top5(one: Accuracy) -> str:
    return NONE if one.top5 is None else f"{100 * one.top5.value:.2f}"


def _p(value: float | None) -> str:
    if value is None:
        return NONE
    return "<0.0001" if value < 0.0001 else f"{value:.2g}"


def _compared(value: float | None) -> str:
    text = _p(value)
    return f"< {text[1:]}" if text.startswith("<") else f"= {text}"


def _samples(found: Evaluation) -> RenderableType:
    """The first disagreements, a line each: the sample, its class, and what was said by whom."""
    count = len(found.disagreements)
    title = f"{count} sample{'s' * (count > 1)} that not all answer as the float model does"
    if count > MOST_SAMPLES:
        title += f", of which {MOST_SAMPLES} are shown; --json has all"
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold",
        title=title, title_justify="left", title_style="bold",
    )  # fmt: skip
    for heading in ("sample", "is", "float says", "others say"):
        table.add_column(heading, overflow="fold")
    for one in found.disagreements[:MOST_SAMPLES]:
        said = "; ".join(f"{name} ({', '.join(who)})" for name, who in _others(one, found.classes).items())
        cells = (one.sample, _name(one.label, found.classes), _name(one.said["float"], found.classes), said)
        table.add_row(*(Text(shown(cell)) for cell in cells))
    return table


def _others(one: Disagreement, classes: tuple[str, ...]) -> dict[str, list[str]]:
    """Each class that somebody says instead, with the runtimes that say it; artifacts of other precisions than int8 are named so."""
    found: dict[str, list[str]] = {}
    for subject, index in one.said.items():
        if index != one.said["float"]:
            artifact, _, runtime = subject.partition("@")
            name = runtime if artifact.endswith("-int8") else f"{runtime} {artifact.rpartition('-')[2]}"
            found.setdefault(_name(index, classes), []).append(name)
    return found


def _name(index: int, classes: tuple[str, ...]) -> str:
    return classes[index] if classes else str(index)
