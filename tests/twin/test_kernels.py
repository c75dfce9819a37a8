"""ONNX Runtime's own kernels on every pair of integers, at many scales: the twin's formulas hold without exception, not for some photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgeds.spec import Array
from edgeds.twin import addition, means, multiplication
from edgeds.twin.graph import Quantization

if TYPE_CHECKING:
    from edgeds.twin.graph import Compute

    Model = Callable[[Quantization, Quantization, Quantization], Compute]

SCALES = 60
ALL = np.arange(256, dtype=np.uint8)
LEFT, RIGHT = map(np.ascontiguousarray, np.meshgrid(ALL, ALL))


def _quantizations(count: int) -> Iterator[tuple[Quantization, ...]]:
    """Inputs and an output that is neither too narrow nor too wide for them."""
    chosen = np.random.default_rng(0)
    for _ in range(SCALES):
        scales, points = chosen.uniform(0.01, 0.1, count), chosen.integers(0, 256, count)
        yield tuple(Quantization(float(s), int(z), "uint8") for s, z in zip(scales, points, strict=True))


def _run(operator: str, inputs: Sequence[Array], by: Sequence[Quantization]) -> Array:
    """What com.microsoft's `operator` makes of `inputs`; `by` are their quantizations, and the output's."""
    values = [f"x{k}" for k in range(len(inputs))]
    scales, points = ([f"{what}{k}" for k in range(len(by))] for what in ("scale", "point"))
    names = [name for group in zip([*values, ""], scales, points, strict=True) for name in group if name]
    constants = [
        numpy_helper.from_array(np.array(q.scale, np.float32), name) for q, name in zip(by, scales, strict=True)
    ]
    constants += [
        numpy_helper.from_array(np.array(q.zero_point, np.uint8), name) for q, name in zip(by, points, strict=True)
    ]
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"], domain="com.microsoft")],
        operator,
        [
            helper.make_tensor_value_info(name, TensorProto.UINT8, x.shape)
            for name, x in zip(values, inputs, strict=True)
        ],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        constants,
    )
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: Array = session.run(None, dict(zip(values, inputs, strict=True)))[0]
    return found


def _computed(compute: Compute, *inputs: Array) -> Array:
    found = compute(*map(torch.from_numpy, inputs))
    assert isinstance(found, torch.Tensor)
    return found.numpy()


# every pair, and every pair again with one side as a number a channel that meets a run of the other
SHAPES = {
    "elements": (LEFT, RIGHT),
    "a number on the left": (ALL.reshape(256, 1), np.tile(ALL, (256, 1))),
    "a number on the right": (np.tile(ALL, (256, 1)), ALL.reshape(256, 1)),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("operator", "model"),
    [("QLinearAdd", addition.mlas_addition), ("QLinearMul", multiplication.mlas_multiplication)],
)
def test_every_pair_of_integers_gives_the_runtimes_own(operator: str, model: Model, shape: str) -> None:
    inputs = SHAPES[shape]
    for by in _quantizations(3):
        np.testing.assert_array_equal(_computed(model(*by), *inputs), _run(operator, inputs, by), str(by))


def test_means_of_random_images_are_the_runtimes_own() -> None:
    images = np.random.default_rng(1).integers(0, 256, (1, 2000, 7, 7), dtype=np.uint8)
    for x, y in _quantizations(2):
        expected = _run("QLinearGlobalAveragePool", (images,), (x, y))
        np.testing.assert_array_equal(_computed(means.mlas_global_mean(x, y, (2, 3), 49), images), expected)
