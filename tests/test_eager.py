from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edgeds.data.samples import make_samples
from edgeds.eager import answers, run_batch
from edgeds.errors import DataError, ModelError
from edgeds.spec import Samples


@pytest.fixture
def samples() -> Samples:
    return make_samples([np.array([[0.0], [4.0], [9.0]], np.float32)], ["zero", "four", "nine"], list("abc"), "ids.npz")


def test_a_sample_that_the_model_does_not_take_is_named(samples: Samples) -> None:
    table = torch.zeros(5, 2)

    def look_up(x: torch.Tensor) -> torch.Tensor:
        return table[x.long()]

    assert run_batch(look_up, samples, 1)[0].shape == (1, 1, 2)
    with pytest.raises(
        DataError, match=r"does not run on sample 'nine' of ids\.npz: IndexError: index 9 .*; give samples"
    ):
        run_batch(look_up, samples, 2)


def test_a_sample_that_is_answered_with_nan_is_named(samples: Samples) -> None:
    assert run_batch(torch.log, samples, 1)[0].item() == pytest.approx(np.log(4))
    with pytest.raises(
        ModelError, match=r"NaN or infinity in 1 of 1 output elements for sample 'zero' of ids.npz; check"
    ):
        run_batch(torch.log, samples, 0)


def test_answers_are_one_array_for_each_output(tiny: Any, samples_of: Any, evaluate: Any) -> None:
    found = answers(tiny.graph, samples_of(tiny.inputs[:3]))
    np.testing.assert_array_equal(found[0], evaluate(tiny.graph, tiny.inputs[:3])[0])
