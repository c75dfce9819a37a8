"""Reads a flatbuffer by the text of its schema, for XNNPACK's serialized graphs: executorch ships the schema, but no Python reader for it.

flatc would print floats with six decimals; scales need all their bits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

SCALARS = {
    "bool": "?",
    "byte": "<i1",
    "ubyte": "<u1",
    "short": "<i2",
    "ushort": "<u2",
    "int": "<i4",
    "uint": "<u4",
    "long": "<i8",
    "ulong": "<u8",
    "uint64": "<u8",
    "float": "<f4",
    "double": "<f8",
}


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables as {name: [(field, type, deprecated)]}; unions as {name: [(name in JSON, table)]}; enums as {name: {number: word}}."""

    root: str
    tables: dict[str, list[tuple[str, str, bool]]]
    unions: dict[str, list[tuple[str, str]]]
    enums: dict[str, tuple[str, dict[int, str]]]


def parse(text: str) -> Schema:
    """A schema of tables, unions and enums, whose fields have no defaults of their own."""
    text = re.sub(r"//[^\n]*", "", text)
    tables, unions, enums = {}, {}, {}
    for name, body in re.findall(r"\btable\s+(\w+)\s*{([^}]*)}", text):
        fields = re.findall(r"(\w+)\s*:\s*([\[\]\w]+)\s*(\([^)]*\))?\s*;", body)
        tables[name] = [(field, kind, "deprecated" in attributes) for field, kind, attributes in fields]
    for name, body in re.findall(r"\bunion\s+(\w+)\s*{([^}]*)}", text):
        members = [part.partition(":") for part in re.sub(r"\s", "", body).split(",") if part.strip()]
        unions[name] = [(alias, table or alias) for alias, _, table in members]
    for name, kind, body in re.findall(r"\benum\s+(\w+)\s*:\s*(\w+)\s*{([^}]*)}", text):
        words = {int(number): word for word, number in re.findall(r"(\w+)\s*=\s*(\d+)", body)}
        enums[name] = (kind, words)
    (root,) = re.findall(r"root_type\s+(\w+)", text)
    return Schema(root, tables, unions, enums)


def read(schema: Schema, content: bytes) -> dict[str, Any]:
    """The root table as plain values: tables are dicts with every field (None where it is left out), enums words, unions two entries.

    A union `u` gives `u_type`, the name of its member, and `u`, its table, as in flatc's JSON.
    """
    return _Reader(schema, content).table(schema.root, _number(content, 0, "<u4"))


class _Reader:
    def __init__(self, schema: Schema, content: bytes) -> None:
        self._schema = schema
        self._content = content

    def table(self, name: str, at: int) -> dict[str, Any]:
        vtable = at - self._int(at, "<i4")
        size = self._int(vtable, "<u2")
        found: dict[str, Any] = {}
        slot = 4
        for field, kind, deprecated in self._schema.tables[name]:
            union = kind in self._schema.unions
            places = [self._int(vtable + s, "<u2") if s < size else 0 for s in ((slot, slot + 2) if union else (slot,))]
            slot += 2 * len(places)
            starts = [at + place if place else None for place in places]
            if union:
                found[f"{field}_type"], found[field] = self._union(kind, starts[0], starts[1])
            elif not deprecated:
                found[field] = self._field(kind, starts[0])
        return found

    def _union(self, kind: str, tag: int | None, value: int | None) -> tuple[str, Any]:
        number = 0 if tag is None else self._int(tag, "<u1")
        if number == 0 or value is None:
            return "NONE", None
        name, table = self._schema.unions[kind][number - 1]
        return name, self.table(table, self._follow(value))

    def _field(self, kind: str, at: int | None) -> Any:
        if kind in SCALARS:
            return 0 if at is None else _number(self._content, at, SCALARS[kind])
        if kind in self._schema.enums:
            base, words = self._schema.enums[kind]
            return words[0 if at is None else self._int(at, SCALARS[base])]
        if kind == "string":
            return "" if at is None else self._bytes(self._follow(at)).decode()
        if kind.startswith("["):
            return [] if at is None else self._vector(kind[1:-1], self._follow(at))
        return None if at is None else self.table(kind, self._follow(at))

    def _vector(self, kind: str, at: int) -> list[Any]:
        count, first = self._int(at, "<u4"), at + 4
        if kind in SCALARS:
            values: list[Any] = np.frombuffer(self._content, SCALARS[kind], count, first).tolist()
            return values
        return [self._field(kind, first + 4 * k) for k in range(count)]

    def _bytes(self, at: int) -> bytes:
        return self._content[at + 4 : at + 4 + self._int(at, "<u4")]

    def _follow(self, at: int) -> int:
        return at + self._int(at, "<u4")

    def _int(self, at: int, kind: str) -> int:
        return int(_number(self._content, at, kind))


def _number(content: bytes, at: int, kind: str) -> Any:
    return np.frombuffer(content, kind, 1, at)[0].item()
