"""What `edgeds evaluate` prints, and its JSON."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
from rich.console import Console

from edgeds.drift.accuracy import mcnemar, share
from edgeds.report.evaluation import MOST_SAMPLES, evaluation_json, evaluation_report, verdicts
from edgeds.results import Accuracy, Disagreement, Evaluation
from edgeds.spec import DataCard


def accuracy(subject: str, lost: int, won: int, right: int = 80, total: int = 100) -> Accuracy:
    top1 = share(np.arange(total) < right - lost + won)
    p = None if subject == "float" else mcnemar(lost, won)
    return Accuracy(subject, "", top1, share(np.arange(total) < 95), lost, won, p, 1 - (lost + won) / total)


FLOAT = accuracy("float", 0, 0)
ARTIFACTS = (accuracy("onnx-int8@onnxruntime", 12, 1), accuracy("tflite-fp32@litert", 1, 1))
SAID = {"float": 0, "onnx-int8@onnxruntime": 1, "tflite-fp32@litert": 2}
FOUND = Evaluation(
    model="net",
    data=DataCard("photos", 100, "0" * 64),
    classes=("ant", "bee", "cat"),
    accuracy=(FLOAT, *ARTIFACTS),
    disagreements=(Disagreement("ant/1.png", 0, SAID),),
    runtimes={},
    warnings=("only so many",),
)


def printed(found: Evaluation, width: int = 100) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    for part in evaluation_report(found):
        console.print(part)
    return [" ".join(line.split()) for line in stream.getvalue().splitlines()]


def test_each_subject_has_a_line_with_its_interval_and_its_test() -> None:
    lines = printed(FOUND)
    assert lines[0] == "net · 100 labelled samples of photos"
    assert "PyTorch float 80.00 71.1–86.7 95.00 – – – –" in lines
    assert "onnxruntime int8 69.00 59.4–77.2 95.00 12 1 0.0034 87.0" in lines
    assert "warning: only so many" in lines


def test_what_differs_by_more_than_chance_is_said_in_a_sentence() -> None:
    (sentence,) = verdicts(FOUND.accuracy)
    assert sentence == (
        "onnx-int8@onnxruntime is worse than the float model by 11.00 points, more than chance explains (McNemar, p = 0.0034)."
    )
    assert verdicts((FLOAT, ARTIFACTS[1])) == [
        "None differs from the float model by more than chance explains (McNemar, p ≥ 1)."
    ]
    assert verdicts((FLOAT,)) == []
    (better,) = verdicts((FLOAT, accuracy("onnx-int8@onnxruntime", 0, 20)))
    assert "is better than the float model by 20.00 points" in better and better.endswith("(McNemar, p < 0.0001).")


def test_a_disagreement_names_the_sample_its_class_and_who_said_what() -> None:
    assert "ant/1.png ant ant bee (onnxruntime); cat (litert fp32)" in printed(FOUND)
    nameless = replace(FOUND, classes=())
    assert "ant/1.png 0 0 1 (onnxruntime); 2 (litert fp32)" in printed(nameless)


def test_of_many_disagreements_the_first_are_shown() -> None:
    many = replace(FOUND, disagreements=FOUND.disagreements * (MOST_SAMPLES + 3))
    lines = printed(many)
    assert sum(line.startswith("ant/1.png") for line in lines) == MOST_SAMPLES
    assert any(line.startswith(f"{MOST_SAMPLES + 3} samples that not all answer as the float model") for line in lines)


def test_json_has_every_share_and_disagreement() -> None:
    content = json.loads(json.dumps(evaluation_json(FOUND), allow_nan=False))
    assert content["schema_version"] == 1
    assert content["accuracy"][0]["top1"] == {"value": 0.8, "count": 80, "total": 100, **bounds(FLOAT)}
    assert content["accuracy"][1]["p_value"] == ARTIFACTS[0].p_value
    assert content["disagreements"] == [{"sample": "ant/1.png", "label": 0, "said": SAID}]


def bounds(one: Accuracy) -> dict[str, float]:
    return {"low": one.top1.low, "high": one.top1.high}
