"""Names of functions in a table: as much of each as fits, and never two lines of one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgeds.report.kernels import KernelTable, fitted, middle_cut
from edgeds.results import KernelTime

GEMM = "void gemm::run<gemm::Kernel<gemm::Cell<4, 16>, 1>, signed char>(gemm::Context*, std::tuple<int, char> const&)"


@pytest.mark.parametrize(
    ("width", "found"),
    [
        (200, GEMM),
        (70, "void gemm::run<…>(gemm::Context*, std::tuple<…> const&)"),
        (30, "void gemm::run<…>(…)"),
        (14, "void ge…<…>(…)"),
    ],
)
def test_a_name_loses_what_tells_least_until_it_fits(width: int, found: str) -> None:
    assert len(found) <= width
    assert fitted(GEMM, width) == found


def test_brackets_of_operators_enclose_nothing() -> None:
    name = "std::ostream& std::operator<< <std::char_traits<char> >(std::ostream&, char const*)"
    assert fitted(name, 30) == "std::ostream& s…, char const*)"


def test_both_ends_of_a_name_are_kept() -> None:
    assert middle_cut("xnn_qs8_gemm_cortex_a53_prfm", 13) == "xnn_qs…3_prfm"
    assert middle_cut("short", 5) == "short"


def test_every_function_is_one_line_of_the_terminal() -> None:
    library = "onnxruntime_pybind11_state.cpython-311-aarch64-linux-gnu.so"
    kernels = [
        KernelTime(GEMM, "libx.so", 1.25, 0.5),
        KernelTime(f"{library}+0x1a2b3c, smlal", library, 0.5, 0.25),
        KernelTime("", "", 0.25, 0.125),
    ]
    file = io.StringIO()
    Console(file=file, width=80).print(KernelTable(kernels))
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert [len(line) <= 80 for line in lines] == [True] * 3
    assert lines[0].split() == ["50.0", "%", "1.25", "ms", "void", "gemm::run<…>(…)", "libx.so"]
    assert lines[1].split() == ["25.0", "%", "0.500", "ms", "+0x1a2b3c,", "smlal", "onnxrunti…x-gnu.so"]
    assert lines[2].split() == ["12.5", "%", "0.250", "ms", "outside", "of", "libraries"]
