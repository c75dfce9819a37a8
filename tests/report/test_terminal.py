"""The terminal report, printed to consoles of several widths without colour, as in a pipe."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from edgeds.report.terminal import bundle_report, judgement
from edgeds.spec import Bundle, DriftLimits, FileDigest, Manifest


def printed(*parts: RenderableType, width: int = 100, color: bool = False) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=color, color_system="standard" if color else None).print(*parts)
    return stream.getvalue()


def report(bundle: Bundle, width: int = 100) -> str:
    return printed(*bundle_report(bundle), width=width)


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_line_is_too_long_cut_off_or_filled_with_spaces(lite0_bundle: Bundle, width: int) -> None:
    text = report(lite0_bundle, width)
    assert "…" not in text
    assert "\x1b" not in text
    for line in text.splitlines():
        assert len(line) <= width
        assert line == line.rstrip()


@pytest.mark.parametrize("width", [80, 100, 140])
def test_each_row_stands_on_one_line_at_every_width(lite0_bundle: Bundle, width: int) -> None:
    rows = [line.split() for line in report(lite0_bundle, width).splitlines()]
    versions = (["2.14.0"], ["2.3.0"]) if width >= 100 else ([], [])
    assert [
        "tflite",
        "int8",
        "5.26",
        "tflite-runtime",
        *versions[0],
        "–",
        "–",
        "0",
        "17.9",
        "37.1",
        "92.5",
        "4",
    ] in rows
    assert ["tflite", "fp32", "18.57", "litert", *versions[1], "–", "–", "–", "exact", "–", "–", "–"] in rows


def test_a_wide_table_says_what_is_counted(lite0_bundle: Bundle) -> None:
    assert "1 delegate " in report(lite0_bundle, 140)
    assert "1 delegate" not in report(lite0_bundle, 100)


def test_the_header_says_what_was_quantized_how_and_on_what(lite0_bundle: Bundle) -> None:
    lines = report(lite0_bundle).splitlines()
    assert lines[0] == "efficientnet_lite0 · 4,652,008 parameters · input 1×3×224×224"
    assert "recipe       w8c-a8t-histogram" in lines
    assert "calibration  64 samples of photos of scikit-image" in lines
    assert "validation   80 samples of photos of scikit-image, held out" in lines


def test_a_float_export_speaks_of_no_calibration(lite0_bundle: Bundle) -> None:
    manifest = replace(lite0_bundle.manifest, recipe=None, calibration=None)
    text = report(replace(lite0_bundle, manifest=manifest))
    assert "none: not quantized" in text
    assert "\ncalibration" not in text


def test_each_warning_and_note_is_marked_and_stands_there_once(lite0_bundle: Bundle) -> None:
    manifest = lite0_bundle.manifest
    noted = replace(manifest.artifacts[0], notes=("mean stays outside: XNNPACK has no kernel for it",) * 2)
    artifacts = (noted, *manifest.artifacts[1:])
    text = report(replace(lite0_bundle, manifest=replace(manifest, warnings=("few samples",) * 2, artifacts=artifacts)))
    assert text.count("warning: few samples\n") == 1
    assert text.count("note: executorch-int8: mean stays outside: XNNPACK has no kernel for it\n") == 1


def test_a_note_of_several_artifacts_stands_there_once_with_their_names(lite0_bundle: Bundle) -> None:
    manifest = lite0_bundle.manifest
    noted = tuple(replace(artifact, notes=("a step stays in float",)) for artifact in manifest.artifacts[:2])
    text = report(replace(lite0_bundle, manifest=replace(manifest, artifacts=noted)))
    assert text.count("a step stays in float") == 1
    assert f"note: {noted[0].name}, {noted[1].name}: a step stays in float\n" in text


def test_a_long_warning_is_wrapped_beside_its_mark(lite0_bundle: Bundle) -> None:
    manifest = replace(lite0_bundle.manifest, warnings=("word " * 30,))
    lines = [line for line in report(replace(lite0_bundle, manifest=manifest), 80).splitlines() if "word" in line]
    assert [line.index("word") for line in lines] == [9] * 3


def test_text_from_a_manifest_is_neither_markup_nor_drives_the_terminal(lite0_bundle: Bundle) -> None:
    model = replace(lite0_bundle.manifest.model, name="[red]net[/red]", weights="a\x1b[2Jb")
    manifest = replace(lite0_bundle.manifest, model=model, warnings=("see [link=x]here[/link]\nand\rthere",))
    text = report(replace(lite0_bundle, manifest=manifest))
    assert "[red]net[/red]" in text
    assert "warning: see [link=x]here[/link] and there\n" in text
    assert "\x1b" not in text
    assert r"a\x1b[2Jb" in text


def test_the_files_stand_there_with_their_sizes_and_folder(lite0_bundle: Bundle) -> None:
    files = {"b.onnx": FileDigest("0" * 64, 4841662), "a.py": FileDigest("0" * 64, 812)}
    text = report(Bundle(Path("out/net"), replace(lite0_bundle.manifest, files=files)))
    assert text.endswith("bundle out/net · 2 files, 4.84 MB\n    812 B  a.py\n  4.84 MB  b.onnx\n\n")


def test_a_bundle_without_artifacts_has_no_tables(lite0_bundle: Bundle) -> None:
    manifest = replace(lite0_bundle.manifest, artifacts=(), drift=())
    text = report(replace(lite0_bundle, manifest=manifest))
    assert "SQNR" not in text
    assert "\nvalidation" not in text
    assert "w8c-a8t-histogram" in text


def test_the_judgement_names_the_limits_that_held(lite0: Manifest) -> None:
    held = "all limits held: int8 SQNR ≥ 10 dB, int8 top-1 agreement ≥ 75 %, int8 runtimes ≤ 3 dB apart, fp32 SQNR ≥ 100 dB"
    assert printed(judgement((), DriftLimits(), lite0.drift), width=140) == held + "\n"
    fp32 = [report for report in lite0.drift if "fp32" in report.subject]
    assert printed(judgement((), DriftLimits(), fp32)) == "all limits held: fp32 SQNR ≥ 100 dB\n"
    assert printed(judgement((), DriftLimits(), ())) == "no limit applies: nothing was judged\n"


def test_the_judgement_has_each_violation_on_a_line_of_its_own_in_red() -> None:
    parts = judgement(("a: SQNR 5.1 dB", "b: SQNR 4.0 dB"), DriftLimits(), ())
    assert printed(parts) == "limit exceeded: a: SQNR 5.1 dB\nlimit exceeded: b: SQNR 4.0 dB\n"
    assert "\x1b[31ma: SQNR 5.1 dB" in printed(parts, color=True)
