"""One tiny artifact of each format, all computing the same from `a` and `b`, [1, 2, 3, 4] each: a - b, and relu(a)."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeds.run import host, tflite_env
from edgeds.spec import Array, Artifact, Format, Layout, Precision, Runtime

SHAPE = (2, 3, 4)  # of one sample, no two axes alike: a wrong layout shows


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from onnx import TensorProto, helper, save

    a, b, difference, positive = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *SHAPE])
        for name in ("z_first", "a_second", "d", "r")
    )
    nodes = [helper.make_node("Sub", ["z_first", "a_second"], ["d"]), helper.make_node("Relu", ["z_first"], ["r"])]
    graph = helper.make_graph(nodes, "tiny", [a, b], [difference, positive])
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), path)
    return path


@pytest.fixture(scope="session")
def tflite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NHWC. The file lists inputs and outputs the other way round; the signature has the right order."""
    return _write_tflite(
        tmp_path_factory.mktemp("tflite") / "tiny.tflite",
        [("SUB", ["a", "b"], ["d"]), ("RELU", ["a"], ["r"])],
        dict.fromkeys("abdr", (1, 3, 4, 2)),
        inputs=["b", "a"],
        outputs=["r", "d"],
        signature={"args_0": "a", "args_1": "b", "output_0": "d", "output_1": "r"},
    )


@pytest.fixture(scope="session")
def int8_tflite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """relu of one int8 input of three axes (they stay as they are): scale 0.5, zero point -3."""
    path = tmp_path_factory.mktemp("int8") / "int8.tflite"
    both = dict.fromkeys("ar", (0.5, -3))
    return _write_tflite(path, [("RELU", ["a"], ["r"])], dict.fromkeys("ar", (1, 2, 7)), ["a"], ["r"], both)


@pytest.fixture(scope="session")
def many_inputs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """args_0 - args_1 - ... - args_11, of one element each: by letter, args_10 comes before args_2."""
    names = [f"args_{k}" for k in range(12)]
    sums = ["args_0", *(f"s_{k}" for k in range(1, 12))]
    return _write_tflite(
        tmp_path_factory.mktemp("many") / "many.tflite",
        [("SUB", [sums[k - 1], names[k]], [sums[k]]) for k in range(1, 12)] + [("RELU", ["args_10"], ["r"])],
        dict.fromkeys([*names, *sums, "r"], (1, 1)),
        inputs=sorted(names),
        outputs=["s_11", "r"],
        signature={**{n: n for n in names}, "output_0": "s_11", "output_1": "r"},
    )


@pytest.fixture(scope="session")
def pte_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch and executorch warn about themselves at import
        import torch

        partitioner = import_module("executorch.backends.xnnpack.partition.xnnpack_partitioner").XnnpackPartitioner()
        lower = import_module("executorch.exir").to_edge_transform_and_lower

        class Tiny(torch.nn.Module):
            def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                return a - b, torch.relu(a)

        example = (torch.zeros(1, *SHAPE), torch.zeros(1, *SHAPE))  # two tensors: one given twice shares its memory
        exported = torch.export.export(Tiny().eval(), example)
        program = lower(exported, partitioner=[partitioner]).to_executorch()
    path = tmp_path_factory.mktemp("pte") / "tiny.pte"
    path.write_bytes(program.buffer)
    return path


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tflite-runtime's environment, really built, where an interrupted build lay before."""
    home = tmp_path_factory.mktemp("cache") / ".environments"
    _, version = tflite_env.find_base()
    interrupted = home / f"tflite-runtime-2.14.0-python{version}"
    (interrupted / "bin").mkdir(parents=True)
    (interrupted / "bin" / "python").write_text("half of a build")
    tflite_env.interpreter(home)
    return home


@pytest.fixture
def artifact() -> Callable[..., Artifact]:
    def make(format_: Format, precision: Precision = Precision.FP32) -> Artifact:
        layout = Layout.NHWC if format_ is Format.TFLITE else Layout.NCHW
        return Artifact(format_, precision, Path("unused"), "5" * 64, 1, layout, (), 0, (), (), ())

    return make


@pytest.fixture
def inputs() -> tuple[Array, Array]:
    a, b = np.random.default_rng(0).normal(size=(2, 5, *SHAPE)).astype(np.float32)
    return a, b


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Sends the agent a request as a device would: `changes` to one for LiteRT; inputs are arrays."""

    def send(
        path: Path,
        inputs: Sequence[Array],
        python: str = sys.executable,
        env: dict[str, str] | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        npy = [str(tmp_path / f"{k}.npy") for k in range(len(inputs))]
        for name, x in zip(npy, inputs, strict=True):
            np.save(name, x)
        request = {"runtime": "litert", "artifact": str(path), "inputs": npy, "layout": "nhwc", "threads": 1}
        request |= {"outputs": str(tmp_path), "repeats": 1} | changes
        text = json.dumps({key: value for key, value in request.items() if value is not None})
        done = subprocess.run([python, host.AGENT], input=text, capture_output=True, text=True, check=False, env=env)
        answer: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (1 if "error" in answer else 0)
        return answer

    return send


@pytest.fixture(params=list(Runtime))
def any_artifact(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Format, Path, Runtime]:
    """Each runtime with an artifact that it runs."""
    runtime: Runtime = request.param
    if runtime is Runtime.TFLITE_RUNTIME:
        home: Path = request.getfixturevalue("environments")
        monkeypatch.setenv("EDGEDS_CACHE", str(home.parent))  # not into the user's cache
    format_, fixture = {
        Runtime.EXECUTORCH: (Format.EXECUTORCH, "pte_file"),
        Runtime.ONNXRUNTIME: (Format.ONNX, "onnx_file"),
        Runtime.LITERT: (Format.TFLITE, "tflite_file"),
        Runtime.TFLITE_RUNTIME: (Format.TFLITE, "tflite_file"),
    }[runtime]
    return format_, request.getfixturevalue(fixture), runtime


def _write_tflite(
    path: Path,
    operators: Sequence[tuple[str, Sequence[str], Sequence[str]]],
    tensors: dict[str, Sequence[int]],
    inputs: Sequence[str],
    outputs: Sequence[str],
    quantization: dict[str, tuple[float, int]] | None = None,
    signature: dict[str, str] | None = None,
) -> Path:
    """Straight from the schema, without a converter. A graph of elementwise operators: (RELU, ADD or SUB, input names, output names), run in the given order.

    `tensors` has each tensor's shape; one in `quantization` (scale, zero point) is int8, all others float32. `signature`
    maps a name like args_0 to a tensor.
    """
    schema, flatbuffers = import_module("ai_edge_litert.schema_py_generated"), import_module("flatbuffers")
    index = {name: k for k, name in enumerate(tensors)}
    graph = schema.SubGraphT()
    graph.name = b"main"
    graph.tensors = [_tensor(schema, name, shape, (quantization or {}).get(name)) for name, shape in tensors.items()]
    graph.inputs, graph.outputs = [index[n] for n in inputs], [index[n] for n in outputs]
    kinds = sorted({kind for kind, _, _ in operators})
    graph.operators = []
    for kind, reads, writes in operators:
        operator = schema.OperatorT()
        operator.opcodeIndex = kinds.index(kind)
        operator.inputs, operator.outputs = [index[n] for n in reads], [index[n] for n in writes]
        if kind in ("ADD", "SUB"):
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{kind.capitalize()}Options")
            operator.builtinOptions = getattr(schema, f"{kind.capitalize()}OptionsT")()
        graph.operators.append(operator)
    model = schema.ModelT()
    model.version = 3
    model.subgraphs = [graph]
    model.buffers = [schema.BufferT()]
    model.operatorCodes = [_code(schema, kind, 2 if quantization else 1) for kind in kinds]
    model.signatureDefs = [_signature(schema, signature, index, inputs)] if signature else []
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def _tensor(schema: Any, name: str, shape: Sequence[int], quantization: tuple[float, int] | None) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = name.encode(), list(shape), 0
    tensor.type = schema.TensorType.FLOAT32
    if quantization:
        tensor.type = schema.TensorType.INT8
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [quantization[0]], [quantization[1]]
    return tensor


def _code(schema: Any, kind: str, version: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
    code.version = version
    return code


def _signature(schema: Any, signature: dict[str, str], index: dict[str, int], inputs: Sequence[str]) -> Any:
    definition = schema.SignatureDefT()
    definition.signatureKey, definition.subgraphIndex = b"serving_default", 0
    definition.inputs, definition.outputs = [], []
    for name, tensor in signature.items():
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), index[tensor]
        (definition.inputs if tensor in inputs else definition.outputs).append(entry)
    return definition
