"""What a format's converter or runtime cannot take, in one line: the format, the operator, the user's line, and the way out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edgeds.errors import ModelError
from edgeds.export import requantization
from edgeds.export.float_steps import RULES
from edgeds.program import CONVERSIONS, output_nodes
from edgeds.spec import Format, Node, Program

# Operators that make no artifact, one that no runtime loads, or a wrong one (TFLite's pooling counts its indices channels last); each was
# tried alone with the pinned converters and runtimes. What is not here is found out by `explained` when the converter has failed.
_NOWHERE = ("kthvalue", "linalg_inv", "linalg_solve", "linalg_svdvals", "median")
LACKING: dict[Format, tuple[str, ...]] = {
    Format.EXECUTORCH: (*_NOWHERE, "argsort", "bucketize", "conv3d", "linalg_det", "sort"),
    Format.ONNX: (*_NOWHERE, "cdist"),
    Format.TFLITE: (*_NOWHERE, "argsort", "bucketize", "linalg_det", "max_pool2d_with_indices", "sort", "topk"),
}
RUNTIME = {Format.EXECUTORCH: "ExecuTorch", Format.ONNX: "ONNX Runtime", Format.TFLITE: "TFLite"}
# How converters and runtimes name operators where they fail: aten.topk.default, aten::sort.values_stable, STABLEHLO_SORT.
NAMES = re.compile(r"\b(?:aten[.:]+|stablehlo[._])_?(\w+)", re.IGNORECASE)
COLORS = re.compile(r"\x1b\[[0-9;]*m")
MAX_NAMED = 3  # steps named in one line
MAX_REASON = 160  # characters


def refuse(program: Program, formats: Sequence[Format]) -> None:
    """Raises ModelError where one of the formats is known not to take an operator of the program: before any converter works."""
    if Format.TFLITE in formats and (twice := _repeated(program)):
        others = [format for format in formats if format != Format.TFLITE]
        raise ModelError(
            f"TFLite cannot give one value twice ({_places(twice)}); return it once{_or_leave_out(others)}"
        )
    found = {format: lacking(program, format) for format in formats}
    refused = [format for format in formats if found[format]]
    if refused:
        kept = [format for format in formats if not found[format]]
        names = " and ".join(RUNTIME[format] for format in refused)
        raise ModelError(f"{names} cannot take {_places(found[refused[0]])}; {_way_out(kept)}")


def explained(program: Program, format: Format, error: Exception) -> ModelError | None:
    """The error of a converter, or of a runtime that does not load its artifact, said of the user's step; None where none can be named."""
    text = " ".join(COLORS.sub("", str(error)).split())
    named = {_plain(name) for name in NAMES.findall(text)}
    steps = [node for node in program.nodes if node.op == "call_function" and _operator(node) in named]
    kept = [other for other in Format if other is not format]
    reason = f"{type(error).__name__}: {text}"[:MAX_REASON]
    if not steps:
        unknown = [] if isinstance(error, OSError | MemoryError) else _unknown(program)
        guess = f"{RUNTIME[format]}'s converter fails ({reason}), most likely for {_places(unknown)}; {_way_out(kept)}"
        return ModelError(guess) if unknown else None
    return ModelError(f"{RUNTIME[format]} cannot take {_places(steps)} ({reason}); {_way_out(kept)}")


def refuse_scales(program: Program, format: Format) -> None:
    """Raises ModelError where the runtime of a format would not load a layer of a quantized program for its scales."""
    if found := list(requantization.too_large(program, format)):
        node, factor = max(found, key=lambda pair: pair[1])
        module = f" ({node.module})" if node.module and node.source else ""
        raise ModelError(
            f"{RUNTIME[format]} cannot take {_places([node])}{module}: {requantization.said(factor)}; {requantization.MEND}; "
            f"or leave the formats out that XNNPACK computes: --format {Format.ONNX}"
        )


def require_loadable(format: Format, path: Path, outside: Sequence[str] = ()) -> None:
    """Raises RuntimeError, naming the operators, where the runtime has no kernel for an operator of the artifact at `path`.

    `outside` are an ExecuTorch program's operators outside of its delegates. ONNX Runtime has loaded its own when they were counted.
    """
    if format is Format.TFLITE:
        from ai_edge_litert.interpreter import Interpreter

        Interpreter(model_path=str(path)).allocate_tensors()
    elif format is Format.EXECUTORCH and outside:
        known = _kernels()
        missing = sorted({name for name in outside if name not in known})
        if missing:
            raise RuntimeError(f"the runtime has no kernel for {', '.join(missing)}")


def _kernels() -> set[str]:
    """The operators of ExecuTorch's Python runtime, without the names of their overloads."""
    from importlib import import_module

    portable_lib = import_module("executorch.extension.pybindings.portable_lib")
    import_module("executorch.kernels.quantized")  # registers quantize and dequantize, as the agent does
    return {str(name).partition(".")[0] for name in portable_lib._get_operator_names()}


def lacking(program: Program, format: Format) -> list[Node]:
    """The steps that a format is known not to take."""
    return [node for node in program.nodes if node.op == "call_function" and _operator(node) in LACKING[format]]


def _repeated(program: Program) -> list[Node]:
    """Steps that are returned twice: litert-torch 0.10 would transpose the second one twice."""
    outputs = output_nodes(program)
    return [node for k, node in enumerate(outputs) if node in outputs[:k]]


def _unknown(program: Program) -> list[Node]:
    """The steps that no int8 rule is for, which converters know less well."""
    return [
        node
        for node in program.nodes
        if node.op == "call_function" and node.target not in RULES and not node.target.startswith(CONVERSIONS)
    ]


def _operator(node: Node) -> str:
    """`topk` of `aten.topk.default`."""
    return _plain(node.target.split(".")[1]) if "." in node.target else ""


def _plain(name: str) -> str:
    return name.lower().strip("_").removesuffix("_copy")


def _places(steps: Sequence[Node]) -> str:
    texts = list(dict.fromkeys(f"{node.target} {_place(node)}" for node in steps))
    more = len(texts) - MAX_NAMED
    return ", ".join(texts[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _place(node: Node) -> str:
    return f"at {node.source}" if node.source else f"in {node.module or node.name}"


def _way_out(kept: Sequence[Format]) -> str:
    return f"return what it works on, and compute it in the app{_or_leave_out(kept)}"


def _or_leave_out(kept: Sequence[Format]) -> str:
    return f"; or leave the format out: --format {','.join(kept)}" if kept else ""
