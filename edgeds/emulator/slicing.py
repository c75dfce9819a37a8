"""Where a runtime begins its next operator, as the counting plugin is told it (see plugin.c), so that each operator's work is counted apart."""

from __future__ import annotations

from dataclasses import dataclass

from edgeds.emulator import elf
from edgeds.emulator.image import EXECUTORCH, PACKAGES, Image
from edgeds.spec import Runtime

# ONNX Runtime's profiler reads the clock before and behind each operator, and nothing reads it in between.
CLOCK = "clock"
# No file is called so, thus no function begins a slice: each region is one.
REGIONS = "0:/"

_CALL, _CALLS = 0x94000000, 0xFC000000  # BL, and the bits that say so (Arm DDI 0487, C6.2.35)
_OFFSET_BITS = 26


@dataclass(frozen=True, slots=True)
class _Entry:
    """A function that a runtime calls once for each operator: `function`, or what that calls first where `calls` is true."""

    library: str
    function: str
    calls: bool = False


_ENTRIES = {
    # xnn_run_operator_with_index has no name there: it is the first that the loop over all operators calls
    Runtime.EXECUTORCH: _Entry(f"{EXECUTORCH}/libexecutorch_backend_xnnpack.so", "xnn_invoke_runtime", calls=True),
    Runtime.LITERT: _Entry(f"{PACKAGES}/ai_edge_litert/libpywrap_litert_common.so", "xnn_run_operator_with_index"),
    # its ARM64 wheel has no XNNPACK delegate by default: TFLite's own kernels, one call an operator
    Runtime.TFLITE_RUNTIME: _Entry(
        f"{PACKAGES}/tflite_runtime/_pywrap_tensorflow_interpreter_wrapper.so",
        "_ZN6tflite8Subgraph8OpInvokeERK18TfLiteRegistrationP10TfLiteNode",
    ),
}


def slices(image: Image, runtime: Runtime) -> str | None:
    """The plugin's argument `slices`; None where the runtime's library does not name such a function."""
    if runtime is Runtime.ONNXRUNTIME:
        return CLOCK
    entry = _ENTRIES[runtime]
    path = image.guest / entry.library
    functions = elf.functions(str(path))
    offset = functions.offset(entry.function)
    if offset is not None and entry.calls:
        offset = _first_call(path.read_bytes(), offset)
    return None if offset is None else f"{offset}:{path.name}"


def _first_call(code: bytes, begin: int) -> int | None:
    """Where the function begins that the one at `begin` calls first; both are in one segment of the file."""
    for at in range(begin, len(code) - 3, 4):
        word = int.from_bytes(code[at : at + 4], "little")
        if word & _CALLS == _CALL:
            distance = word & ((1 << _OFFSET_BITS) - 1)
            return at + 4 * (distance - ((distance >> (_OFFSET_BITS - 1)) << _OFFSET_BITS))
    return None
