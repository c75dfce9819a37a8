"""What stands in a `.pte`: its execution plan, and the graph and the constants of each XNNPACK delegate."""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgeds.export import xnnpack_schema
from edgeds.export.xnnpack_schema import Schema
from edgeds.quiet import quiet_imports

NOWHERE = 2**64 - 1  # an offset that says: look under the name


@dataclass(frozen=True, slots=True, eq=False)
class Delegate:
    """`graph` is XNNPACK's, with the fields of executorch's schema.fbs; `constants[k]` are the bytes of its k-th buffer, k ≥ 1."""

    graph: dict[str, Any]
    constants: dict[int, bytes]


def read(path: Path) -> tuple[Any, list[Delegate]]:
    """The execution plan of a `.pte` (executorch.exir.schema), and its delegates in the plan's order."""
    with quiet_imports():  # of executorch, and its deprecated way to read its own schema
        from executorch.exir._serialize._program import deserialize_pte_binary

        file = deserialize_pte_binary(path.read_bytes())
    plan = file.program.execution_plan[0]
    data = file.program.backend_delegate_data
    named = file.named_data
    by_name = {key: named.buffers[entry.buffer_index] for key, entry in named.pte_data.items()} if named else {}
    payloads = [bytes(data[delegate.processed.index].data) for delegate in plan.delegates]
    return plan, [_delegate(payload, by_name) for payload in payloads]


def _delegate(payload: bytes, named: dict[str, bytes]) -> Delegate:
    from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader

    header = XNNHeader.from_bytes(payload[: XNNHeader.EXPECTED_LENGTH])
    start = header.flatbuffer_offset
    graph = xnnpack_schema.read(_schema(), payload[start : start + header.flatbuffer_size])
    constants = {}
    for index, entry in enumerate(graph["constant_data"]):
        first = header.constant_data_offset + entry["offset"]
        own = payload[first : first + entry["size"]] if entry["offset"] != NOWHERE else b""
        constants[index] = named[entry["named_key"]][: entry["size"]] if entry["named_key"] else own
    return Delegate(graph, constants)


@cache
def _schema() -> Schema:
    schema = importlib.resources.files("executorch.backends.xnnpack.serialization").joinpath("schema.fbs")
    return xnnpack_schema.parse(schema.read_text())
