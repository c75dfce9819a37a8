"""The values inside a runtime, where it can be asked for them without changing the artifact: LiteRT keeps them, ONNX Runtime returns them.

Whether looking changed what was seen the caller can tell: the outputs are among the values.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeds.quiet import quiet_native_code
from edgeds.spec import Array, Runtime
from edgeds.twin import Twin

Values = dict[str, Array]
Session = Callable[[Sequence[Array]], Values]  # one batch, as the artifact takes it


def visible_values(path: Path, runtime: Runtime, twin: Twin, inputs: Sequence[Array]) -> Values | None:
    """By the twin's names, [N, ...] in the artifact's own types and order of axes; None for a runtime that shows nothing.

    Where a value is computed within another kernel its place is missing, or holds something else: see `own_steps`.
    """
    if runtime not in SESSIONS:
        return None
    look = SESSIONS[runtime](path, twin)
    entered, batch = twin.entered(inputs), twin.values[twin.inputs[0]].shape[0]
    count = len(entered[0])
    firsts = range(0, count, batch)
    rows = [look([x[np.minimum(np.arange(first, first + batch), count - 1)] for x in entered]) for first in firsts]
    return {name: np.concatenate([row[name] for row in rows])[:count] for name in rows[0]}


def own_steps(twin: Twin, seen: Values) -> dict[str, int]:
    """For each quantized value that is seen the largest difference from its layer's own arithmetic on the inputs that are seen.

    Padding is part of the convolution behind it in XNNPACK, so that nothing stands in its place: it is computed here.
    """
    known, differences = dict(seen), {}
    for layer in twin.layers:
        if any(name not in known for name in layer.inputs):
            continue
        computed = dict(zip(layer.outputs, twin.step(layer, [known[name] for name in layer.inputs]), strict=True))
        if layer.operator == "PAD":
            known |= computed
            continue
        for name, value in computed.items():
            if name in seen and twin.values[name].quantization is not None:
                difference = np.abs(value.astype(np.int64) - seen[name].astype(np.int64))
                differences[name] = int(difference.max(initial=0))
    return differences


def _litert(path: Path, twin: Twin) -> Session:
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings(), quiet_native_code():  # which tells of each delegate
        warnings.simplefilter("ignore")  # that this is for debugging
        interpreter = Interpreter(str(path), num_threads=1, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
    names = [*twin.inputs, *(name for layer in twin.layers for name in layer.outputs)]

    def look(inputs: Sequence[Array]) -> Values:
        for name, x in zip(twin.inputs, inputs, strict=True):
            interpreter.set_tensor(_index(name), x)
        interpreter.invoke()
        return dict(_kept(interpreter, names))

    return look


def _kept(interpreter: Any, names: Sequence[str]) -> Iterator[tuple[str, Array]]:
    for name in names:
        try:
            yield name, interpreter.get_tensor(_index(name)).copy()
        except ValueError:  # it has no memory: the runtime never makes it
            continue


def _index(name: str) -> int:
    return int(name.partition(" ")[0])


def _onnxruntime(path: Path, twin: Twin) -> Session:
    import onnx
    import onnxruntime

    model = onnx.load(path)
    made = {name for node in model.graph.node for name in node.output} - set(twin.outputs)
    names = [name for layer in twin.layers for name in layer.outputs if name in made]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = [*twin.outputs, *names]

    def look(inputs: Sequence[Array]) -> Values:
        fed = dict(zip(twin.inputs, inputs, strict=True))
        return fed | dict(zip(wanted, session.run(wanted, fed), strict=True))

    return look


SESSIONS: dict[Runtime, Callable[[Path, Twin], Session]] = {
    Runtime.LITERT: _litert,
    Runtime.ONNXRUNTIME: _onnxruntime,
}
