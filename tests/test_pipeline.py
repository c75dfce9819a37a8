"""The Python interface: the four lines of edgeds' docstring, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeds
from edgeds import pipeline
from edgeds.bundle import open_bundle
from edgeds.errors import BundleError, DataError, EdgedsError, InputError, ToolError
from edgeds.progress import Silent
from edgeds.run.fake import FakeRunner
from edgeds.spec import DriftLimits, Format, Model, Precision, QuantizedModel, Runtime

ARTIFACT = "onnx-int8@onnxruntime"


class Told(Silent):
    """A progress that remembers warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(scope="module", autouse=True)
def _harmless() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.export tells of its own deprecations
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEDS_CACHE", str(tmp_path_factory.getbasetemp() / "pipeline-cache"))


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "inputs.npz"
    np.savez(path, np.random.default_rng(0).normal(size=(20, 1, 16, 8)).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def model() -> Model:
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem = (nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        separable = (nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.ReLU())
        module = nn.Sequential(*stem, *separable, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval()
    return Model("sound", module, ((1, 1, 16, 8),), "made for tests")


@pytest.fixture(scope="module")
def quantized(model: Model, arrays: Path) -> QuantizedModel:
    return pipeline.quantize(model, arrays, cache=False)


@pytest.fixture(scope="module")
def bundle(quantized: QuantizedModel, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return pipeline.export(quantized, tmp_path_factory.mktemp("out") / "sound", formats="onnx", cache=False)


def test_the_four_lines_of_the_docstring_are_what_a_user_needs(tmp_path: Path, arrays: Path) -> None:
    model = edgeds.load_model("ds_cnn", width=0.25, input_size=16, num_classes=3)
    inputs = np.random.default_rng(0).normal(size=(20, *model.input_shapes[0][1:])).astype(np.float32)
    np.save(tmp_path / "sounds.npy", inputs)
    quantized = edgeds.quantize(model, tmp_path / "sounds.npy")
    bundle = edgeds.export(quantized, tmp_path / "ds_cnn", formats=["onnx"])
    report = edgeds.validate(bundle)
    assert (report.violations, edgeds.violations(bundle)) == ((), ())
    assert report.drift == bundle.manifest.drift
    assert [a.name for a in bundle.manifest.artifacts] == ["onnx-int8"]
    assert bundle.manifest.seeded and any("the weights are random" in w for w in bundle.manifest.warnings)


def test_export_and_quantize_are_packages_and_functions_whatever_is_imported_first() -> None:
    code = (
        "import edgeds, sys; assert 'torch' not in sys.modules; import edgeds.export.onnx, edgeds.quantize.pt2e;"
        "from edgeds import export, quantize;"
        "assert export is edgeds.export and edgeds.export.onnx.FORMAT == 'onnx' and callable(edgeds.quantize)\n"
        "try: edgeds.export('no model', 'out')\n"
        "except edgeds.errors.InputError as e: print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("cannot export a str; give what edgeds.quantize returns")


def test_everything_that_edgeds_offers_exists_and_nothing_else() -> None:
    for name in edgeds.__all__:
        assert callable(getattr(edgeds, name)) and name in dir(edgeds)
    with pytest.raises(AttributeError, match="module 'edgeds' has no attribute 'exprot'"):
        _ = edgeds.exprot


def test_a_single_format_may_be_given_as_a_word(bundle: Any) -> None:
    assert [a.format for a in bundle.manifest.artifacts] == [Format.ONNX]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formats": ["onx"]}, "unknown format 'onx'; choose from executorch, onnx, tflite"),
        ({"formats": []}, "no format given; choose from executorch, onnx, tflite"),
        ({"precisions": ["int4"]}, "unknown precision 'int4'; choose from int8, fp32"),
        ({"precisions": ()}, "no precision given; choose from int8, fp32"),
        ({"tflite_io": "uint8"}, "unknown TFLite input and output type 'uint8'; choose from int8, float"),
        ({"workers": 0}, "cannot lower with 0 workers; give at least 1, or None for one a core"),
    ],
)
def test_export_refuses_what_it_does_not_know(
    quantized: QuantizedModel, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        pipeline.export(quantized, tmp_path / "out", **arguments)
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_was_not_quantized_is_refused_with_the_next_step(model: Model, tmp_path: Path) -> None:
    wrong: Any = model
    with pytest.raises(
        InputError, match=r"^cannot export a Model; give what edgeds\.quantize returns, or edgeds\.capt"
    ):
        pipeline.export(wrong, tmp_path / "out")


def test_int8_needs_a_quantized_model(quantized: QuantizedModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^an int8 export needs a quantized model; call edgeds\.quantize first"):
        pipeline.export(quantized.source, tmp_path / "out", precisions=["int8"])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"recipe": "w4"},
            InputError,
            "unknown recipe 'w4'; choose from fast, best, w8c-a8t-histogram, w8c-a8t-minmax",
        ),
        ({"calibration": "none"}, DataError, "none does not exist; give a folder of images"),
        ({"validation": "none"}, DataError, "none does not exist; give a folder of images"),
    ],
)
def test_quantize_refuses_what_it_cannot_use(
    model: Model, arrays: Path, arguments: dict[str, Any], error: type[EdgedsError], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}"):
        pipeline.quantize(model, **({"calibration": arrays} | arguments))


def test_an_existing_place_is_refused_before_any_work(
    quantized: QuantizedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeds.lowering.lower_all", lambda *a: pytest.fail("work was done"))
    with pytest.raises(BundleError, match="exists; --force replaces it, or choose another --out"):
        pipeline.export(quantized, tmp_path)


def test_a_missing_converter_is_told_before_any_work(
    quantized: QuantizedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ToolError("onnxscript is not installed; pip install onnxscript")

    monkeypatch.setattr("edgeds.export.onnx.check", missing)
    monkeypatch.setattr("edgeds.lowering.lower_all", lambda *a: pytest.fail("work was done"))
    with pytest.raises(ToolError, match="pip install onnxscript"):
        pipeline.export(quantized, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_whatever_fails_while_exporting_leaves_nothing_behind(
    quantized: QuantizedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        (arguments[1] / "half an artifact").touch()
        raise RuntimeError("a bug")

    monkeypatch.setattr("edgeds.lowering.lower_all", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        pipeline.export(quantized, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_saved_quantized_model_is_the_same_when_it_is_loaded(quantized: QuantizedModel, tmp_path: Path) -> None:
    from edgeds import program as programs

    saved = pipeline.save_quantized(quantized, tmp_path / "saved", cache=False)
    assert [(d.subject, d.reference) for d in saved.manifest.drift] == [("pt2e", "float")]
    loaded = pipeline.load_quantized(tmp_path / "saved")
    assert programs.digest(loaded.graph) == programs.digest(quantized.graph)
    assert (loaded.tensors, loaded.calibration, loaded.recipe) == (
        quantized.tensors,
        quantized.calibration,
        quantized.recipe,
    )
    assert loaded.source.validation.digest == quantized.source.validation.digest


def test_quantizing_again_takes_the_graph_from_the_cache(
    model: Model, arrays: Path, quantized: QuantizedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pipeline.quantize(model, arrays)
    monkeypatch.setattr("edgeds.quantize.pt2e.quantize_program", lambda *a: pytest.fail("it was quantized again"))
    again = pipeline.quantize(model, arrays)
    assert first.tensors == again.tensors == quantized.tensors
    with pytest.raises(pytest.fail.Exception, match="quantized again"):
        pipeline.quantize(model, arrays, recipe="w8c-a8t-minmax")


def test_what_making_the_float_program_warns_of_stands_in_the_report(
    quantized: QuantizedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeds.quantize import pt2e

    def warned(program: Any, samples: Any) -> Any:
        return program, ("a rewrite was left out",)

    monkeypatch.setattr(pt2e, "float_program_for_export", warned)
    monkeypatch.setattr("edgeds.crosscheck.require_right", lambda *given: ())
    told = Told()
    runner = FakeRunner({"onnx-fp32@onnxruntime": (np.zeros((5, 3), np.float32),)})
    monkeypatch.setattr("edgeds.validation.host", runner)
    made = pipeline.export(quantized, tmp_path / "out", formats="onnx", precisions="fp32", cache=False, progress=told)
    assert told.warnings == ["a rewrite was left out"]
    assert made.manifest.warnings == ("a rewrite was left out",)


def test_a_limit_is_judged_and_stands_in_the_bundle(bundle: Any, quantized: QuantizedModel) -> None:
    strict = DriftLimits(min_int8_sqnr_db=1000.0)
    assert pipeline.violations(bundle) == ()
    found = pipeline.validate(bundle, limits=strict)
    assert len(found.violations) == 1
    assert found.violations[0].startswith(f"{ARTIFACT}: SQNR ") and "limit of 1000.0 dB" in found.violations[0]


def test_random_weights_are_not_judged_by_accuracy(
    quantized: QuantizedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = FakeRunner({ARTIFACT: (np.ones((5, 3), np.float32),)})  # as wrong as can be
    monkeypatch.setattr("edgeds.validation.host", runner)
    monkeypatch.setattr("edgeds.lowering.lower_all", lambda orders, folder, *a: ())
    for seeded in (False, True):
        source = replace(quantized.source, seeded=seeded)
        made = pipeline.export(replace(quantized, source=source), tmp_path / str(seeded), formats="onnx", cache=False)
        assert made.manifest.limits.min_int8_sqnr_db == (-np.inf if seeded else 10.0)


def test_a_limit_that_the_user_sets_is_judged_for_random_weights_too(
    quantized: QuantizedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeds.lowering.lower_all", lambda orders, folder, *a: ())
    random = replace(quantized, source=replace(quantized.source, seeded=True))
    limits = DriftLimits(min_int8_sqnr_db=90.0)
    made = pipeline.export(random, tmp_path / "out", formats="onnx", limits=limits, cache=False)
    assert made.manifest.limits == limits


def test_validate_takes_new_data_and_says_what_is_wrong_with_it(bundle: Any, arrays: Path, tmp_path: Path) -> None:
    found = pipeline.validate(bundle.path, arrays)
    assert (found.data.source, found.data.n_samples) == ("inputs.npz", 20)
    assert found.runtimes.keys() == {Runtime.ONNXRUNTIME}
    np.save(tmp_path / "wrong.npy", np.zeros((4, 2), np.float32))
    with pytest.raises(DataError, match=r"wrong\.npy has shape \[4, 2\] but the model needs \[N, 1, 16, 8\]"):
        pipeline.validate(bundle, tmp_path / "wrong.npy")


def test_validate_checks_every_sha256_first(bundle: Any, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(bundle.path, tmp_path / "copy"))
    graph = copy / "reference" / "graph.safetensors"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(BundleError, match=r"'reference/graph\.safetensors' was changed"):
        pipeline.validate(copy)


def test_a_captured_model_is_exported_in_fp32(model: Model, arrays: Path, tmp_path: Path) -> None:
    captured = pipeline.capture(model, arrays)
    made = pipeline.export(captured, tmp_path / "out", formats=[Format.ONNX], cache=False)
    assert [a.precision for a in made.manifest.artifacts] == [Precision.FP32]
    assert (made.manifest.recipe, made.manifest.calibration, made.manifest.quantization) == (None, None, ())
    assert min(d.sqnr_db for d in made.manifest.drift) >= 100
    with pytest.raises(BundleError, match="holds no quantized model; export it with --precision int8"):
        pipeline.load_quantized(tmp_path / "out")
    assert open_bundle(tmp_path / "out").manifest.model.name == "sound"
    assert pipeline.validate(tmp_path / "out").violations == ()
