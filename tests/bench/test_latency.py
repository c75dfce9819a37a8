"""The bench of latencies: its nets, its statistics, and the rows that every change of the model is held to."""

from __future__ import annotations

import dataclasses

import pytest

from edgeds import devices
from edgeds.emulator import wheels
from edgeds.emulator.image import Image
from edgeds.latency.estimate import INTERVALS, Parts
from edgeds.latency.memory import Times
from edgeds.results import LatencyReport, Method
from tests.bench import latency, latency_artifacts, latency_fit, latency_table, ncnn_runs, published
from tests.bench.latency_table import Compared
from tests.bench.ncnn_writer import Activation, Writer
from tests.bench.published import Published

ROW = Published("raspberry-pi-4", "ncnn", "1", "net", "fp32", 1, 9, 11, 10, "a paper")
REPORT = LatencyReport("net", "", "raspberry-pi-4", 1, Method.EMULATED, 10, 8, 13, 10, 0, 1, 0, 0, (), None, 1)

# (device, net): a net of each kind on the board that has most rows, and three on the others
HELD_TO = [
    *(("raspberry-pi-4", net) for net in ("mobilenet", "mobilenet_int8", "mobilenet_v2", "mobilenet_v3")),
    *(("raspberry-pi-4", net) for net in ("efficientnet_b0", "resnet18")),
    *(("raspberry-pi-3b-plus", net) for net in ("mobilenet_int8", "mobilenet_v3")),
    *(("raspberry-pi-5", net) for net in ("mobilenet_int8", "mobilenet_v3")),
]


def compared(
    ms: float, estimate_ms: float, device: str = "raspberry-pi-4", core: float = 0, lines: float = 0
) -> Compared:
    row = dataclasses.replace(ROW, ms=ms, device=device)
    low, high = INTERVALS[Method.EMULATED]
    report = dataclasses.replace(REPORT, ms=estimate_ms, low_ms=estimate_ms * low, high_ms=estimate_ms * high)
    return Compared(row, "ncnn 1", report, Parts((Times(core * 1e6, 0, lines * 1e6),), lost_ns=0))


def held_to() -> list[Published]:
    rows = {(row.device, row.net): row for row in published.rows() if row.threads == 1 and row.runtime == "ncnn"}
    return [rows[key] for key in HELD_TO]


@pytest.mark.emulator
@pytest.mark.parametrize("row", held_to(), ids=lambda row: f"{row.device}-{row.net}")
def test_a_published_latency_lies_within_the_interval_that_is_stated(row: Published, image: Image) -> None:
    (one,) = latency.compare([row])
    assert one.report.low_ms <= row.ms <= one.report.high_ms


@pytest.mark.emulator
def test_the_mean_error_of_published_latencies_is_as_small_as_readme_says(image: Image) -> None:
    assert latency_table.summary(list(latency.compare(held_to()))).mean_absolute_error <= 0.08


@pytest.mark.parametrize("row", list(published.rows()), ids=lambda row: f"{row.device}-{row.net}-{row.threads}")
def test_every_published_row_is_of_a_device_that_is_known_and_says_where_it_stands(row: Published) -> None:
    assert row.device in devices.names() and row.threads <= devices.load(row.device).cores
    assert row.ms > 0 and len(row.source) > 20
    assert row.runtime != "ncnn" or row.version in ncnn_runs.WHEELS


def test_rows_whose_runs_differ_by_half_are_not_compared() -> None:
    disturbed = dataclasses.replace(ROW, min_ms=10, max_ms=16)
    assert latency.why_not(disturbed) == "its runs took 10 to 16 ms"
    assert not dataclasses.replace(ROW, min_ms=10, max_ms=14).disturbed


def test_a_row_that_takes_long_is_compared_where_its_net_is_asked_for() -> None:
    slow = dataclasses.replace(ROW, device="raspberry-pi-5", net="vision_transformer")
    assert latency.why_not(slow).endswith("ask for it with --net vision_transformer")
    assert not latency.why_not(slow, asked=["vision_transformer"])
    assert not latency.why_not(dataclasses.replace(slow, device="raspberry-pi-4"))


@pytest.mark.parametrize("net", sorted(ncnn_runs.NETS))
def test_every_net_is_a_network_whose_blobs_are_made_before_they_are_read(net: str) -> None:
    lines = ncnn_runs.described(net)[0].splitlines()
    n_layers, n_blobs = map(int, lines[1].split())
    made: set[str] = set()
    for line in lines[2:]:
        _, _, n_inputs, n_outputs, *names = line.split()
        assert made.issuperset(names[: int(n_inputs)]), line
        made |= set(names[int(n_inputs) : int(n_inputs) + int(n_outputs)])
    assert (len(lines) - 2, len(made)) == (n_layers, n_blobs)


def test_every_net_that_ncnn_published_is_described() -> None:
    assert {row.net for row in published.rows() if row.runtime == "ncnn"} == set(ncnn_runs.NETS)


def test_a_net_is_written_in_ncnns_format_and_what_two_layers_read_is_split() -> None:
    net = Writer(8, 8)
    x = net.conv(net.image(), 4, 3, 2, Activation.RELU)
    net.add(x, net.depthwise(x, 3))
    assert net.text().splitlines() == [
        "7767517",
        "5 6",
        "Input layer0 0 1 data 0=8 1=8 2=3",
        "Convolution layer1 1 1 data 1 0=4 1=3 3=2 4=1 5=1 6=108 9=1",
        "Split split1 1 2 1 1.0 1.1",
        "ConvolutionDepthWise layer2 1 1 1.1 2 0=4 1=3 4=1 5=1 6=36 7=4",
        "BinaryOp layer3 2 1 1.0 2 output",
    ]


def test_a_layer_of_the_writer_has_what_ncnn_needs_to_know_beyond_its_defaults() -> None:
    net = Writer(8, 8)
    x = net.conv(net.image(), 4, act=Activation.LEAKY_RELU, bias=False)
    first, second = net.slices(x, 1)
    net.add(net.concat(first, second), net.constant(4))
    assert net.text().splitlines()[3:] == [
        "Convolution layer1 1 1 data 1 0=4 1=1 6=12 9=2 -23310=1,0.1",
        "Slice layer2 1 2 1 2 3 -23300=2,1,-233",
        "Concat layer3 2 1 2 3 4",
        "MemoryData layer4 0 1 5 0=4",
        "BinaryOp layer5 2 1 4 5 output",
    ]


@pytest.mark.parametrize(
    ("net", "n_weights"),
    [
        ("mobilenet", 4.2e6),
        ("mobilenet_v2", 3.5e6),
        ("resnet18", 11.7e6),
        ("efficientnetv2_b0", 7.1e6),
        ("yolov4-tiny", 6.1e6),
        ("nanodet_m", 0.95e6),
    ],
)
def test_nets_have_as_many_weights_as_is_said_of_them(net: str, n_weights: float) -> None:
    found = 0
    for line in ncnn_runs.described(net)[0].splitlines()[2:]:
        kind, *fields = line.split()
        number = "2=" if kind == "InnerProduct" else "6=" if kind.startswith("Convolution") else "none"
        found += sum(int(field[2:]) for field in fields if field.startswith(number))
    assert found == pytest.approx(n_weights, rel=0.03)


def test_errors_are_of_the_published_number_and_negative_where_the_estimate_is_too_fast() -> None:
    assert compared(10, 9).error == pytest.approx(-0.1)
    assert compared(10, 9.9).inside and not compared(10, 5).inside


def test_a_summary_counts_what_lies_within() -> None:
    of = latency_table.summary([compared(10, 9.05), compared(20, 23.5), compared(30, 24.5), compared(40, 60)])
    assert of.within == (0.25, 0.25, 0.75)
    assert of.mean_absolute_error == pytest.approx((0.095 + 0.175 + 5.5 / 30 + 0.5) / 4)
    assert of.rank_correlation == 1


@pytest.mark.parametrize(("b", "rho"), [([1, 2, 3], 1.0), ([3, 2, 1], -1.0), ([2, 1, 3], 0.5)])
def test_the_rank_correlation_is_spearmans(b: list[float], rho: float) -> None:
    assert latency_table.rank_correlation([10, 20, 30], b) == rho


def test_a_constant_is_chosen_by_the_other_boards() -> None:
    """Two boards on which half of the shorter time is hidden, and a third on which all is."""
    rows = [
        compared(15, 15, "a", core=10, lines=10),
        compared(25, 25, "b", core=20, lines=10),
        compared(10, 1, "c", 10, 5),
    ]
    last = latency_fit.leave_one_board_out(rows, latency_fit.with_unhidden)[-1]
    assert (last.device, last.constant, last.n_rows) == ("c", 0.5, 1)
    assert last.mean_absolute_error == pytest.approx(0.25)
    assert (last.low, last.high, last.inside, last.inside_stated) == (1, 1, 0, 1)  # 12.5 ms for 10 are just within 0.8


def test_tables_have_as_many_cells_in_each_line_as_in_their_head() -> None:
    rows = [compared(15, 15, "a", core=10, lines=10), compared(25, 25, "b", core=20, lines=10)]
    fit = latency_fit.table("UNHIDDEN", latency_fit.leave_one_board_out(rows, latency_fit.with_unhidden))
    for text in (fit, latency_table.table(rows), latency_table.summaries(rows)):
        assert len({line.count("|") for line in text.splitlines()}) == 1, text


def test_a_row_says_what_was_published_and_what_is_run_for_it() -> None:
    same = compared(10, 10)
    other = dataclasses.replace(
        same, row=dataclasses.replace(ROW, runtime="XNNPACK", version="2022"), run="executorch 2"
    )
    first, second = latency_table.table([same, other]).splitlines()[2:]
    assert first.startswith("| ncnn | ncnn 1 |")
    assert second.startswith("| XNNPACK, 2022 | executorch 2 |")


@pytest.mark.parametrize("row", [row for row in published.rows() if row.runtime != "ncnn"], ids=lambda row: row.net)
def test_rows_of_other_runtimes_than_ncnn_are_run_by_one_that_an_image_has(row: Published) -> None:
    assert latency_artifacts.release(row).split()[0] in {wheel.name for wheel in wheels.pinned()}


def test_an_efficiency_divides_the_cores_time_among_threads() -> None:
    row = compared(10, 10, core=8)
    four = dataclasses.replace(row, row=dataclasses.replace(row.row, threads=4))
    assert latency_fit.with_efficiency(four, 0.5) == pytest.approx(4)


def test_an_interval_leaves_as_many_rows_outside_above_as_below() -> None:
    assert latency_fit.interval([float(k) for k in range(40)]) == (1, 38)
