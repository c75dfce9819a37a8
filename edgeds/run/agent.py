"""Runs one artifact in one runtime: a JSON request on stdin, arrays as .npy files, one JSON answer on stdout.

This script stands alone: the standard library, numpy and the one runtime that it is asked for, Python 3.9 or newer. The
same file runs on the host and on a device, where a copy of it lies in the bundle.

Request  {"runtime": "executorch" | "onnxruntime" | "litert" | "tflite-runtime",
          "artifact": path,
          "inputs": [path of a float32 .npy [N, ...] for each input, axes as PyTorch has them],
          "layout": "nchw" | "nhwc",            how the artifact takes inputs of 4 axes (batch counted)
          "output_layout": "nchw" | "nhwc",     optional: how it returns outputs of 4 axes; nhwc ones are turned to nchw
          "threads": 1,
          "outputs": folder that the outputs are written to,
          "repeats": 1,                         how often each batch is run; the outputs are those of the last time
          "mark": false,                        optional: mark the first batch for an emulator that counts instructions
          "profile": path}                      optional: the beginning of the path of onnxruntime's own profile
Answer   {"runtime_version": "1.2.3", "outputs": [path of a float32 .npy [N, ...]], "wall_ms": [one for each run],
          "profile": path}                      the last only where it was asked for
         or {"error": "one line"} and exit code 1.

An artifact with a batch of B (mostly 1) runs B samples at once, in their order; the last batch is filled up with its last
sample, and the answers to those are dropped. `wall_ms` has ceil(N / B) · repeats numbers, batch by batch, none for a marked one: the
runtime's own call alone, without the quantization of inputs. Whatever a runtime prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version as package_version
from typing import Any

import numpy as np


class RequestError(Exception):
    """The request cannot be done; the text is the answer."""


class ExecuTorch:
    """A .pte program's method `forward`."""

    def __init__(self, path: str, threads: int) -> None:
        import torch

        with suppress(ImportError):  # not in every wheel; it registers q/dq kernels, for those outside of a delegate
            import_module("executorch.kernels.quantized")
        native = native_executorch()
        native._unsafe_reset_threadpool(threads)
        torch.set_num_threads(threads)
        self.version = package_version("executorch")
        self._from_numpy = torch.from_numpy
        checked = native.Verification.InternalConsistency
        self._program = native._load_program(path, program_verification=checked)  # the method does not keep it alive
        self._method = self._program.load_method("forward")
        meta = self._program.method_meta("forward")
        self.input_shapes = [list(meta.input_tensor_meta(k).sizes()) for k in range(meta.num_inputs())]

    def feed(self, inputs: list[Any]) -> None:
        self._inputs = [self._from_numpy(x) for x in inputs]

    def invoke(self) -> None:
        self._outputs = self._method(self._inputs)

    def fetch(self) -> list[Any]:
        return [x.numpy() for x in self._outputs]


def native_executorch() -> Any:
    """ExecuTorch's library itself: `executorch.runtime`, which wraps it, imports the compiler with it, for seconds of each start."""
    try:
        return import_module("executorch.extension.pybindings._C")
    except ImportError:  # before 1.5 it had another name
        return import_module("executorch.extension.pybindings.portable_lib")


class OnnxRuntime:
    """An .onnx model on the CPU."""

    def __init__(self, path: str, threads: int, profile: str = "") -> None:
        # official builds send usage data to their maker unless this says no before the import
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        onnxruntime = import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # on x86 without VNNI (AVX2) products of uint8 and int8 saturate unless this is set; no effect elsewhere
        options.add_session_config_entry("session.x64quantprecision", "1")
        if profile:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        self.version = onnxruntime.__version__
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._names = [x.name for x in self._session.get_inputs()]
        self.input_shapes = [list(x.shape) for x in self._session.get_inputs()]

    def feed(self, inputs: list[Any]) -> None:
        self._inputs = {name: inputs[k] for k, name in enumerate(self._names)}

    def invoke(self) -> None:
        self._outputs = self._session.run(None, self._inputs)

    def fetch(self) -> list[Any]:
        return list(self._outputs)

    def end_profile(self) -> str:
        return str(self._session.end_profiling())


class Tflite:
    """A .tflite model, in LiteRT or in the older tflite-runtime: XNNPACK where they have it by default (the older's ARM64 wheel does not)."""

    def __init__(self, interpreter: Any, version: str) -> None:
        self.version = version
        self._interpreter = interpreter
        interpreter.allocate_tensors()
        self._in = in_order(interpreter, "input")
        self._out = in_order(interpreter, "output")
        self.input_shapes = [[int(d) for d in x["shape"]] for x in self._in]

    def feed(self, inputs: list[Any]) -> None:
        for k, tensor in enumerate(self._in):
            self._interpreter.set_tensor(tensor["index"], quantize(inputs[k], tensor))

    def invoke(self) -> None:
        self._interpreter.invoke()

    def fetch(self) -> list[Any]:
        return [dequantize(self._interpreter.get_tensor(x["index"]), x) for x in self._out]


def load_litert(path: str, threads: int) -> Tflite:
    interpreter = import_module("ai_edge_litert.interpreter").Interpreter
    return Tflite(interpreter(model_path=path, num_threads=threads), package_version("ai-edge-litert"))


def load_tflite_runtime(path: str, threads: int) -> Tflite:
    interpreter = import_module("tflite_runtime.interpreter").Interpreter
    return Tflite(interpreter(model_path=path, num_threads=threads), package_version("tflite-runtime"))


LOADERS: dict[str, Any] = {
    "executorch": ExecuTorch,
    "onnxruntime": OnnxRuntime,
    "litert": load_litert,
    "tflite-runtime": load_tflite_runtime,
}


def in_order(interpreter: Any, side: str) -> list[Any]:
    """The details of a .tflite model's inputs or outputs, in the order of the PyTorch model's.

    The file has its own order. Its signature names them args_0, args_1... and output_0, output_1..., and lists the names
    by letter (args_10 before args_2); names without numbers have no order, then the file's holds.
    """
    details = interpreter.get_input_details() if side == "input" else interpreter.get_output_details()
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        return list(details)
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    named = runner.get_input_details() if side == "input" else runner.get_output_details()
    numbers = {name: [int(n) for n in re.findall(r"_(\d+)", name)] for name in named}
    if len(named) != len(details) or not all(numbers.values()):
        return list(details)
    return [named[name] for name in sorted(named, key=lambda name: numbers[name])]


def quantize(x: Any, tensor: dict[str, Any]) -> Any:
    """float32 to the tensor's type: round(x / scale) + zero point, half to even, clipped."""
    dtype = np.dtype(tensor["dtype"])
    if dtype == np.float32:
        return x
    scale, zero_point = quantization(tensor)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(x / np.float32(scale)) + zero_point, limits.min, limits.max).astype(dtype)


def dequantize(x: Any, tensor: dict[str, Any]) -> Any:
    if (
        x.dtype == np.float32 or len(tensor["quantization_parameters"]["scales"]) == 0
    ):  # indices and masks have no scale
        return x
    scale, zero_point = quantization(tensor)
    return (x.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


def quantization(tensor: dict[str, Any]) -> tuple[float, int]:
    scales = tensor["quantization_parameters"]["scales"]
    if len(scales) != 1 or np.dtype(tensor["dtype"]).kind not in "iu":
        name, dtype = tensor["name"], np.dtype(tensor["dtype"]).name
        raise RequestError(
            f"tensor {name!r} is {dtype} with {len(scales)} scales; only float32 and per-tensor quantized work"
        )
    return float(scales[0]), int(tensor["quantization_parameters"]["zero_points"][0])


def read_inputs(request: dict[str, Any], shapes: list[list[Any]]) -> list[Any]:
    """The inputs as the artifact takes them, without the batch axis; refuses what does not fit."""
    inputs = [np.load(path, allow_pickle=False) for path in request["inputs"]]
    if len(inputs) != len(shapes):
        raise RequestError(f"the artifact takes {len(shapes)} inputs, not {len(inputs)}")
    for k, x in enumerate(inputs):
        if x.dtype != np.float32:
            raise RequestError(f"input {k} is {x.dtype}; give float32")
        if len(x) != len(inputs[0]):
            raise RequestError(f"input {k} has {len(x)} samples and input 0 has {len(inputs[0])}; give as many of each")
        if request["layout"] == "nhwc" and x.ndim == 4:
            x = inputs[k] = np.moveaxis(x, 1, -1)
        got, wanted = [batch_of(shapes), *x.shape[1:]], shapes[k]
        # a dimension that the artifact leaves open is a name or negative
        if len(got) != len(wanted) or any(isinstance(d, int) and d >= 0 and d != got[i] for i, d in enumerate(wanted)):
            raise RequestError(f"input {k} has shape {got}, the artifact takes {wanted} ({request['layout']})")
    return inputs


def batch_of(shapes: list[list[Any]]) -> int:
    """How many samples an artifact with these input shapes takes at once; 1 where it leaves that open."""
    first = shapes[0][0] if shapes and shapes[0] else 1
    return first if isinstance(first, int) and first > 0 else 1


# What an emulator knows as the marks of a region; the warm-up before it fills the caches.
BEGIN, END, WARM_UP = 1, 2, 3


def mark(code: int) -> None:
    """Tells an emulator that counts; everywhere else it asks for a process that does not exist, and nothing happens."""
    with suppress(OSError):
        os.getpgid(0x51D0000 | code)


def run(session: Any, inputs: list[Any], repeats: int, marked: bool) -> tuple[list[list[Any]], list[float]]:
    """Runs every batch; returns the outputs of each batch and the milliseconds of each run.

    Where the first batch is `marked` it comes last, for an emulator is slow from the first mark on, and has no times.
    """
    batches, wall_ms = [], []
    size, count = batch_of(session.input_shapes), len(inputs[0])
    firsts = range(0, count, size)
    for first in reversed(firsts) if marked else firsts:
        rows = np.minimum(np.arange(first, first + size), count - 1)
        session.feed([np.ascontiguousarray(x[rows]) for x in inputs])
        if marked and first == 0:
            count_once(session)
            repeats = 0
        for _ in range(repeats):
            start = time.perf_counter_ns()
            session.invoke()
            wall_ms.append((time.perf_counter_ns() - start) / 1e6)
        batches.append([np.array(x, dtype=np.float32) for x in session.fetch()])
    return (batches[::-1] if marked else batches), wall_ms


def count_once(session: Any) -> None:
    mark(WARM_UP)
    session.invoke()
    mark(BEGIN)
    session.invoke()
    mark(END)


def write_outputs(request: dict[str, Any], batches: list[list[Any]], size: int, count: int) -> list[str]:
    paths = []
    for k, first in enumerate(batches[0]):
        if first.ndim == 0 or first.shape[0] != size:
            raise RequestError(f"output {k} has shape {list(first.shape)}; its first axis must be the batch, {size}")
        output = np.concatenate([batch[k] for batch in batches])[:count]
        if request.get("output_layout") == "nhwc" and output.ndim == 4:
            output = np.moveaxis(output, -1, 1)
        paths.append(os.path.join(request["outputs"], f"output_{k}.npy"))
        np.save(paths[-1], np.ascontiguousarray(output))
    return paths


def check_request(request: dict[str, Any]) -> None:
    missing = [
        key
        for key in ("runtime", "artifact", "inputs", "layout", "threads", "outputs", "repeats")
        if key not in request
    ]
    if missing:
        raise RequestError(f"the request lacks {', '.join(missing)}")
    if request["runtime"] not in LOADERS:
        raise RequestError(f"unknown runtime {request['runtime']!r}; choose from {', '.join(LOADERS)}")
    if request["runtime"] != "onnxruntime" and "profile" in request:
        raise RequestError(f"{request['runtime']} writes no profile; leave it out, or choose onnxruntime")
    for key in ("layout", "output_layout"):
        layout = request.get(key, "nchw")
        if layout not in ("nchw", "nhwc"):
            raise RequestError(f"unknown {key.replace('_', ' ')} {layout!r}; choose from nchw, nhwc")
    if not os.path.isfile(request["artifact"]):
        raise RequestError(f"no such file {request['artifact']!r}")
    if request["repeats"] < 1 or request["threads"] < 1:
        raise RequestError(f"repeats {request['repeats']} and threads {request['threads']} must be at least 1")


def answer(request: dict[str, Any]) -> dict[str, Any]:
    check_request(request)
    profile = {"profile": request["profile"]} if "profile" in request else {}
    session = LOADERS[request["runtime"]](request["artifact"], request["threads"], **profile)
    inputs = read_inputs(request, session.input_shapes)
    if not inputs or len(inputs[0]) == 0:
        raise RequestError("there is no sample to run; give at least one")
    batches, wall_ms = run(session, inputs, request["repeats"], request.get("mark", False))
    outputs = write_outputs(request, batches, batch_of(session.input_shapes), len(inputs[0]))
    answered = {"runtime_version": session.version, "outputs": outputs, "wall_ms": wall_ms}
    return answered | {"profile": session.end_profile()} if profile else answered


def main() -> int:
    stdout = os.dup(1)
    os.dup2(2, 1)  # runtimes print to fd 1 from C++ too: the answer must stand there alone
    try:
        result, code = answer(json.load(sys.stdin)), 0
    except RequestError as error:
        result, code = {"error": str(error)}, 1
    except Exception as error:  # noqa: BLE001  whatever a runtime raises is the answer
        result, code = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}, 1
    os.write(stdout, (json.dumps(result) + "\n").encode())
    os.close(stdout)
    return code


if __name__ == "__main__":
    sys.exit(main())
