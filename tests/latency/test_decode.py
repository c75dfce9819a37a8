"""What instructions read, write and occupy."""

from __future__ import annotations

import pytest

from edgeds.latency.decode import FLAGS, decode
from edgeds.latency.mnemonics import Kind

V = 32  # the number of v0


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        (0x8B010000, Kind.ALU),  # add x0, x0, x1
        (0x8B010800, Kind.ALU_LSL),  # add x0, x0, x1, lsl #2
        (0x8B011C00, Kind.ALU_SHIFT),  # add x0, x0, x1, lsl #7
        (0x9B017C00, Kind.MULTIPLY_64),  # mul x0, x0, x1
        (0x1B017C00, Kind.MULTIPLY),  # mul w0, w0, w1
        (0x54000041, Kind.BRANCH),  # b.ne
        (0xF9800060, Kind.PREFETCH),  # prfm pldl1keep, [x3]
        (0x3DC00060, Kind.LOAD_VECTOR),  # ldr q0, [x3]
        (0x4D408460, Kind.LOAD_LANE),  # ld1 {v0.d}[1], [x3]
        (0x4C408060, Kind.LOAD_INTERLEAVED),  # ld2 {v0.16b, v1.16b}, [x3]
        (0x0D008060, Kind.STORE_VECTOR),  # st1 {v0.s}[0], [x3]
        (0x4E20CC00, Kind.FMLA),  # fmla v0.4s, v0.4s, v0.4s
        (0x1F420C20, Kind.FMLA),  # fmadd d0, d1, d2, d3
        (0x4E401420, Kind.FADD),  # fadd v0.8h, v1.8h, v0.8h (FP16)
        (0x4E20F420, Kind.FCOMPARE),  # fmax v0.4s, v1.4s, v0.4s
        (0x4E20E420, Kind.FCOMPARE),  # fcmeq v0.4s, v1.4s, v0.4s
        (0x1E202020, Kind.FCOMPARE),  # fcmp s1, s0
        (0x4E400C20, Kind.FMLA),  # fmla v0.8h, v1.8h, v0.8h (FP16)
        (0x6E411C20, Kind.FMUL),  # fmul v0.8h, v1.8h, v1.8h (FP16)
        (0x4E809420, Kind.DOT),  # sdot v0.4s, v1.16b, v0.16b
        (0x6F80E020, Kind.DOT),  # udot v0.4s, v1.16b, v0.4b[0]
        (0x4E80A420, Kind.MMLA),  # smmla v0.4s, v1.16b, v0.16b
        (0x0E208020, Kind.VMULTIPLY_LONG),  # smlal v0.8h, v1.8b, v0.8b
        (0x4E609420, Kind.VMULTIPLY),  # mla v0.8h, v1.8h, v0.8h
        (0x4E206820, Kind.ACCUMULATE),  # sadalp v0.8h, v1.16b
        (0x4E214820, Kind.SHIFT_NARROW),  # sqxtn2 v0.16b, v1.8h
        (0x4EA05420, Kind.SHIFT_REGISTER),  # srshl v0.4s, v1.4s, v0.4s
        (0x4F3E2420, Kind.SHIFT_ROUNDING),  # srshr v0.4s, v1.4s, #2
        (0x4E21C820, Kind.FCONVERT),  # fcvtas v0.4s, v1.4s
        (0x0E217820, Kind.FCONVERT_HALF),  # fcvtl v0.4s, v1.4h
        (0x4E003820, Kind.ZIP),  # zip1 v0.16b, v1.16b, v0.16b
        (0x6E004020, Kind.REARRANGE),  # ext v0.16b, v1.16b, v0.16b, #8
        (0x4E181C20, Kind.INSERT),  # ins v0.d[1], x1
        (0x4E040C20, Kind.DUPLICATE),  # dup v0.4s, w1
        (0x9E670020, Kind.DUPLICATE),  # fmov d0, x1
        (0x4E083C20, Kind.EXTRACT),  # mov x0, v1.d[0]
        (0x4EB1B820, Kind.REDUCE),  # addv s0, v1.4s
        (0x4EA06420, Kind.VECTOR),  # smax v0.4s, v1.4s, v0.4s
    ],
)
def test_an_encoding_is_of_its_kind(word: int, kind: Kind) -> None:
    assert decode(word).kind is kind


def test_an_accumulator_is_read_apart_from_the_factors() -> None:
    found = decode(0x4E20CC00 | 2 << 16 | 1 << 5)  # fmla v0.4s, v1.4s, v2.4s
    assert (found.accumulator, found.writes, found.quad) == (V, (V,), True)
    assert set(found.reads) == {V, V + 1, V + 2}


def test_a_load_that_moves_its_address_on_writes_it_as_well() -> None:
    found = decode(0x4CDFA060)  # ld1 {v0.16b, v1.16b}, [x3], #32 is 0x4CDFA060
    assert (found.base, found.writes, found.moved_bytes, found.moved_registers) == (3, (V, V + 1), 32, 2)


def test_a_store_reads_what_it_stores_and_writes_nothing() -> None:
    found = decode(0xAD000460)  # stp q0, q1, [x3]
    assert (set(found.reads), found.writes, found.moved_bytes) == ({3, V, V + 1}, (), 32)


@pytest.mark.parametrize(
    ("word", "quad"),
    [
        (0x4E212820, False),  # xtn2 v0.16b, v1.8h
        (0x4E614820, False),  # sqxtn2 v0.8h, v1.4s
        (0x4E204020, False),  # addhn2 v0.16b, v1.8h, v0.8h
        (0x0E20C020, True),  # smull v0.8h, v1.8b, v0.8b
        (0x4EB1B820, False),  # addv s0, v1.4s
    ],
)
def test_the_width_is_that_of_what_is_written(word: int, quad: bool) -> None:
    """A narrowing instruction leaves one half of its register as it was."""
    assert decode(word).quad is quad


def test_a_table_counts_the_bytes_that_are_looked_up() -> None:
    assert decode(0x4E036020).moved_bytes == 64  # tbl v0.16b, {v1.16b-v4.16b}, v3.16b


def test_a_lane_is_merged_into_its_register() -> None:
    assert decode(0x4E181C20).merged == V


def test_flags_are_a_register() -> None:
    assert decode(0x71000400).writes == (0, FLAGS)  # subs w0, w0, #1
    assert decode(0xF100041F).writes == (FLAGS,)  # cmp x0, #1
    assert FLAGS in decode(0x54000041).reads  # b.ne
    assert FLAGS in decode(0x9A800000).reads  # csel x0, x0, x0, eq


def test_the_zero_register_is_none() -> None:
    assert decode(0xF900007F).reads == (3,)  # str xzr, [x3]


def test_an_encoding_that_is_not_known_is_placed_by_its_group() -> None:
    unknown = decode(0x0E80FC41 | 1 << 23)  # a vector encoding that is not allocated
    assert unknown.kind is Kind.VECTOR
    assert unknown.writes == (V + 1,)
