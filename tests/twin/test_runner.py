"""The twin as a runner."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeds.errors import InputError
from edgeds.run import host
from edgeds.spec import Runtime
from edgeds.twin import runner

if TYPE_CHECKING:
    from tests.conftest import Lowered, Tiny


def test_the_runner_has_the_shape_of_the_host_and_its_answers(tiny: Tiny, tiny_artifacts: Lowered) -> None:
    for name in ("check", "run"):
        shapes = [list(inspect.signature(getattr(module, name)).parameters.values()) for module in (runner, host)]
        assert shapes[0] == shapes[1]
    artifact = tiny_artifacts.artifacts["onnx-int8"]
    found, expected = (
        module.run(artifact, artifact.path, Runtime.ONNXRUNTIME, (tiny.inputs[:2],)) for module in (runner, host)
    )
    np.testing.assert_array_equal(found.outputs[0], expected.outputs[0])
    assert (found.artifact_sha256, found.runtime) == (expected.artifact_sha256, expected.runtime)
    assert (found.runtime_version, found.wall_ms) == ("twin", ())


def test_the_runner_says_which_runtimes_it_has() -> None:
    runner.check(Runtime.LITERT)
    with pytest.raises(InputError, match="unknown runtime with a twin 'tflite-runtime'"):
        runner.check(Runtime.TFLITE_RUNTIME)
