"""Cycles of blocks on cores, where the answer is known."""

from __future__ import annotations

import pytest

from edgeds import devices
from edgeds.devices import loader
from edgeds.errors import InputError
from edgeds.latency import cores
from edgeds.latency.decode import decode_block
from edgeds.latency.mnemonics import Kind
from edgeds.latency.operations import operations, port_names
from edgeds.latency.pipeline import block_cycles
from tests.latency import sequences
from tests.latency.code import (
    ADD_X0,
    CMP_X0,
    FADD_CHAIN,
    LD2_Q,
    LDR_D,
    LDR_Q,
    NOP,
    STR_Q,
    STR_X,
    add_vector,
    b_ne,
    code,
    fmla,
    sadalp,
    sdot,
    smlal,
    tbl,
)


def one_pass(block: bytes, core: str) -> int:
    """Cycles from the first issue to the last, as a benchmark measures it that runs `block` once."""
    pipeline = devices.load_pipeline(core)
    steps = operations(decode_block(block), pipeline)
    return next(cores.in_order(steps, pipeline.pipeline, len(port_names(pipeline)))) + steps[-1].chunks


@pytest.mark.parametrize(("assembly", "encoding", "cycles"), sequences.MEASURED_ON_A53)
def test_a_cortex_a53_takes_as_long_as_was_measured(assembly: str, encoding: str, cycles: int) -> None:
    assert one_pass(bytes.fromhex(encoding), "cortex-a53") == cycles, assembly


def test_a_whole_kernel_takes_as_long_as_was_measured_on_a_cortex_a53() -> None:
    assert one_pass(bytes.fromhex(sequences.SAXPY), "cortex-a53") == 32


@pytest.mark.parametrize(("core", "column"), [("cortex-a72", 2), ("cortex-a53", 3), ("cortex-a76", 4)])
@pytest.mark.parametrize("row", sequences.MEASURED_RATES, ids=lambda row: row[0])
def test_independent_instructions_run_at_the_rate_that_was_measured(
    core: str, column: int, row: tuple[str, int, float | None, float | None, float | None]
) -> None:
    """Twelve of them, each with a destination of its own."""
    word, rate = row[1], row[column]
    if rate is not None:
        assert block_cycles(code(*(word | k for k in range(12))), core) == pytest.approx(12 / float(rate), rel=0.03)


def test_the_natural_order_of_ncnns_guide_takes_6_cycles_on_a_cortex_a53() -> None:
    assert block_cycles(bytes.fromhex(sequences.NATURAL), "cortex-a53") == 6


def test_the_interleaved_order_of_ncnns_guide_takes_15_cycles_on_a_cortex_a53() -> None:
    assert block_cycles(bytes.fromhex(sequences.GUIDE_A53), "cortex-a53") == 15


def test_all_but_the_fmla_of_ncnns_guide_is_free_on_a_cortex_a55() -> None:
    assert block_cycles(bytes.fromhex(sequences.GUIDE_A55), "cortex-a55") == 8


@pytest.mark.parametrize(
    ("core", "cycles"),
    [("cortex-a53", 8), ("cortex-a55", 8), ("cortex-a72", 8), ("cortex-a73", 8), ("cortex-a76", 4), ("cortex-a78", 4)],
)
def test_independent_fmla_take_as_long_as_the_units_are_wide(core: str, cycles: int) -> None:
    """64 bits twice a cycle up to the Cortex-A73, 128 bits twice a cycle from the Cortex-A76 on."""
    assert block_cycles(code(*(fmla(k) for k in range(8))), core) == cycles


@pytest.mark.parametrize(
    ("core", "cycles"),
    [("cortex-a53", 4), ("cortex-a55", 4), ("cortex-a72", 3), ("cortex-a73", 3), ("cortex-a76", 2), ("cortex-a78", 2)],
)
def test_fmla_on_one_accumulator_wait_for_its_forwarding(core: str, cycles: int) -> None:
    assert block_cycles(code(fmla(0)), core) == cycles


@pytest.mark.parametrize(("core", "cycles"), [("cortex-a55", 16), ("cortex-a76", 8), ("cortex-a78", 8)])
def test_sdot_on_enough_accumulators_fill_the_units(core: str, cycles: int) -> None:
    assert block_cycles(code(*(sdot(k) for k in range(16))), core) == cycles


@pytest.mark.parametrize("core", ["cortex-a72", "cortex-a73", "cortex-a76", "cortex-a78"])
def test_long_multiplies_have_one_of_the_two_units(core: str) -> None:
    assert block_cycles(code(*(smlal(k) for k in range(8))), core) == 8


@pytest.mark.parametrize(
    ("core", "cycles"), [("cortex-a53", 16), ("cortex-a72", 8), ("cortex-a76", 8), ("cortex-a78", 8)]
)
def test_pairwise_accumulations_take_as_long_as_was_measured(core: str, cycles: int) -> None:
    """0.5 a cycle on a Cortex-A53, 1 on the others."""
    assert block_cycles(code(*(sadalp(k) for k in range(8))), core) == cycles


@pytest.mark.parametrize("n_registers", [1, 2, 3, 4])
def test_a_look_up_takes_a_cycle_of_a_cortex_a53_for_each_register_of_its_table(n_registers: int) -> None:
    assert block_cycles(code(tbl(n_registers)), "cortex-a53") == n_registers


@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a72", "cortex-a73"])
def test_a_core_without_dot_products_refuses_them(core: str) -> None:
    with pytest.raises(InputError, match=rf"{core} has no sdot \(dot\), but the program executed it"):
        block_cycles(code(sdot(0)), core)


@pytest.mark.parametrize(
    ("core", "latency"),
    [("cortex-a53", 4), ("cortex-a55", 4), ("cortex-a72", 4), ("cortex-a73", 4), ("cortex-a76", 2), ("cortex-a78", 2)],
)
def test_a_dependent_chain_takes_the_sum_of_its_latencies(core: str, latency: int) -> None:
    assert block_cycles(code(*[FADD_CHAIN] * 5), core) == 5 * latency


@pytest.mark.parametrize(
    ("core", "cycles"),
    [("cortex-a53", 4), ("cortex-a55", 4), ("cortex-a72", 8), ("cortex-a73", 4), ("cortex-a76", 4), ("cortex-a78", 2)],
)
def test_a_stream_of_stores_takes_as_long_as_its_ports(core: str, cycles: int) -> None:
    """Four `str q`: 128 bits a cycle, 64 on the Cortex-A72, two stores on the Cortex-A78."""
    assert block_cycles(code(*[STR_Q] * 4), core) == cycles


@pytest.mark.parametrize(
    ("core", "width"), [("cortex-a72", 3), ("cortex-a73", 2), ("cortex-a76", 4), ("cortex-a78", 6)]
)
def test_nothing_is_faster_than_the_width_of_a_core(core: str, width: int) -> None:
    assert block_cycles(code(*[NOP] * 12), core) == pytest.approx(12 / width, rel=0.05)


@pytest.mark.parametrize(("quad", "cycles"), [(True, 8), (False, 6)])
def test_a_cortex_a72_renames_three_64_bit_results_a_cycle(quad: bool, cycles: int) -> None:
    """12 additions: measured 1.5 a cycle of 128 bits, and 2 of 64, for it has two units."""
    assert block_cycles(code(*(add_vector(k, quad) for k in range(12))), "cortex-a72") == cycles


def test_ld2_takes_as_long_as_was_measured_on_a_cortex_a72() -> None:
    """0.375 a cycle: two registers are loaded, and two are sorted, of two halves each."""
    assert block_cycles(code(*[LD2_Q] * 3), "cortex-a72") == 8


def test_loads_are_renamed_beside_the_multiplications_that_they_feed() -> None:
    """Four of each, of 128 bits, are 16 halves: 16/3 cycles of a Cortex-A72, where the units would take 4."""
    block = code(*(word for k in range(4) for word in (fmla(k), LDR_Q)))
    assert block_cycles(block, "cortex-a72") == pytest.approx(16 / 3, rel=0.03)
    assert block_cycles(block, "cortex-a76") == 2


def test_out_of_order_a_ready_operation_fills_the_gap_before_one_that_waits() -> None:
    """A chain of fadd leaves 3 of 4 cycles of both units; in order nothing could use them."""
    block = code(FADD_CHAIN, *(fmla(k) for k in range(8, 11)))
    assert block_cycles(block, "cortex-a72") == 4
    assert one_pass(code(FADD_CHAIN, FADD_CHAIN, fmla(8), fmla(9)), "cortex-a53") == 7


@pytest.mark.parametrize(("core", "cycles"), [("cortex-a72", 2), ("cortex-a76", 1)])
def test_out_of_order_the_address_that_a_store_updates_does_not_wait_for_what_is_stored(core: str, cycles: int) -> None:
    """ldr q0, [x0]; fadd v0, v0, v1; str q0, [x0], #16, as in a ReLU in place: the next load needs the address only."""
    load, store = 0x3DC00000, 0x3C810400
    assert block_cycles(code(load, FADD_CHAIN, store), core) == cycles


def test_a_division_keeps_other_divisions_waiting_and_nothing_else() -> None:
    """fdiv v0.4s, v1.4s, v2.4s takes a Cortex-A72 32 cycles, in which each of its two units executes 32 halves of fmla."""
    division = 0x6E22FC20
    assert block_cycles(code(division), "cortex-a72") == 32
    assert block_cycles(code(division, *(fmla(k) for k in range(3, 15))), "cortex-a72") == 32


def test_in_order_two_additions_are_issued_at_once_unless_one_needs_the_other() -> None:
    assert one_pass(code(ADD_X0, STR_X), "cortex-a53") == 1
    assert one_pass(code(ADD_X0, ADD_X0), "cortex-a53") == 2


@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a55"])
def test_in_order_a_branch_is_issued_with_the_comparison_that_decides_it(core: str) -> None:
    assert block_cycles(code(CMP_X0, b_ne(2)), core) == 1


def test_a_cortex_a55_issues_128_bit_operations_first_or_alone() -> None:
    """An addition goes along with the fmla ahead of it, not with the one behind. Neither does a load of two cycles."""
    assert one_pass(code(fmla(0), ADD_X0), "cortex-a55") == 1
    assert one_pass(code(ADD_X0, fmla(0)), "cortex-a55") == 2
    assert one_pass(code(ADD_X0, LDR_Q), "cortex-a55") == 3


def test_a_cortex_a55_loads_and_stores_in_one_cycle() -> None:
    assert one_pass(code(LDR_D, STR_X), "cortex-a55") == 1
    assert one_pass(code(LDR_D, STR_X), "cortex-a53") == 2


@pytest.mark.parametrize("core", loader.cores())
def test_a_core_says_what_every_kind_of_instruction_costs(core: str) -> None:
    pipeline = devices.load_pipeline(core)
    assert set(pipeline.classes) | {"dot", "mmla"} == set(Kind) | {"dot"}
    assert all(len(source) > 10 for source in pipeline.sources.values())


def test_a_core_that_cannot_be_is_refused_with_its_place() -> None:
    text = (loader._CORES / "cortex-a72.toml").read_text()
    with pytest.raises(InputError, match=r"fmla of mine uses 'Y'; choose from I, M, B"):
        loader.decode_pipeline(
            text.replace("forward = 3, uses = { F = [1, 2] }", "forward = 3, uses = { Y = 1 }"), "mine"
        )
    with pytest.raises(InputError, match="fmla of mine has the source 'hearsay'; choose from measured, guide"):
        loader.decode_pipeline(
            text.replace('F = [1, 2] }, source = "measured"', 'F = [1, 2] }, source = "hearsay"', 1), "mine"
        )
    with pytest.raises(InputError, match="the core 'cortex-x9' has no pipeline; those that have one are cortex-a53"):
        devices.load_pipeline("cortex-x9")
