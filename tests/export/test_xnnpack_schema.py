"""A flatbuffer read by the text of its schema."""

from __future__ import annotations

import flatbuffers
import numpy as np

from edgeds.export import xnnpack_schema

TEXT = """
// a comment with table words { }
enum Kind : short { none = 0, some = 3, }
union Either { Left: _Base, Right, }
table _Base { old:[ubyte] (deprecated); x:float; }
table Right { ids:[uint]; }
table Item { either:Either; kind:Kind; }
table Root { name:string; items:[Item]; big: uint64; item:Item; }
root_type Root;
"""


def _item(builder: flatbuffers.Builder, tag: int, table: int, kind: int) -> int:
    builder.StartObject(3)
    builder.PrependUint8Slot(0, tag, 0)
    builder.PrependUOffsetTRelativeSlot(1, table, 0)
    builder.PrependInt16Slot(2, kind, 0)
    return int(builder.EndObject())


def test_tables_unions_enums_strings_and_vectors_are_read_with_all_bits_of_their_floats() -> None:
    builder = flatbuffers.Builder(0)
    builder.StartObject(2)
    builder.PrependFloat32Slot(1, 0.1234567, 0.0)
    left = builder.EndObject()
    ids = builder.CreateNumpyVector(np.array([7, 2**32 - 1], np.uint32))
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, ids, 0)
    right = builder.EndObject()
    items = [_item(builder, 1, left, 3), _item(builder, 2, right, 0)]
    builder.StartVector(4, 2, 4)
    for item in reversed(items):
        builder.PrependUOffsetTRelative(item)
    vector = builder.EndVector()
    name = builder.CreateString("ein Graph")
    builder.StartObject(4)
    builder.PrependUOffsetTRelativeSlot(0, name, 0)
    builder.PrependUOffsetTRelativeSlot(1, vector, 0)
    builder.PrependUint64Slot(2, 2**64 - 1, 0)
    builder.Finish(builder.EndObject())

    assert xnnpack_schema.read(xnnpack_schema.parse(TEXT), bytes(builder.Output())) == {
        "name": "ein Graph",
        "items": [
            {"either_type": "Left", "either": {"x": float(np.float32(0.1234567))}, "kind": "some"},
            {"either_type": "Right", "either": {"ids": [7, 2**32 - 1]}, "kind": "none"},
        ],
        "big": 2**64 - 1,
        "item": None,
    }
