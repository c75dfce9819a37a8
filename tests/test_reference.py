from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeds import reference
from edgeds.data.samples import make_samples
from edgeds.errors import BundleError
from edgeds.spec import (
    MANIFEST_SCHEMA_VERSION,
    Bundle,
    DataCard,
    DriftLimits,
    FloatModel,
    Manifest,
    ModelCard,
    Samples,
    TensorQuantization,
)

CARD = ModelCard("tiny", "seeded", 10, ((1, 3, 32, 32),), ((1, 5),), None, ())  # the shapes of the tiny model


def samples_of(count: int) -> Samples:
    inputs = np.arange(count * 48, dtype=np.float32).reshape(count, 3, 4, 4)
    names = [f"photo {k}" for k in range(count)]
    return make_samples([inputs], names, [f"group {k // 2}" for k in range(count)], "photos")


def bundle_at(path: Path, recipe: str | None = None, tensors: tuple[TensorQuantization, ...] = ()) -> Bundle:
    card = DataCard("photos", 1, "0" * 64)
    calibration = card if recipe else None
    drift = DriftLimits()
    made = Manifest(
        MANIFEST_SCHEMA_VERSION, "0", CARD, recipe, calibration, card, tensors, (), (), drift, ("careful",), {}
    )
    return Bundle(path, made)


def test_samples_come_back_as_they_were_written(tmp_path: Path) -> None:
    samples = samples_of(5)
    outputs = np.arange(25, dtype=np.float32).reshape(5, 5)
    reference.write_samples(tmp_path, samples, {"float": (outputs,)})
    read = reference.read_samples(bundle_at(tmp_path))
    assert (read.names, read.groups, read.source, read.digest) == (
        samples.names,
        samples.groups,
        "photos",
        samples.digest,
    )
    np.testing.assert_array_equal(np.load(tmp_path / "samples" / "float_output_0.npy"), outputs)


def test_of_many_samples_evenly_spaced_ones_are_kept_with_their_own_outputs(tmp_path: Path) -> None:
    outputs = np.arange(40, dtype=np.float32)[:, None]
    reference.write_samples(tmp_path, samples_of(40), {"float": (outputs,), "pt2e": (outputs + 100,)})
    kept = reference.read_samples(bundle_at(tmp_path))
    assert len(kept) == reference.MAX_SAMPLES
    rows = [int(name.removeprefix("photo ")) for name in kept.names]
    assert rows == [k * 40 // 16 for k in range(16)]
    np.testing.assert_array_equal(kept.inputs[0][:, 0, 0, 0], [48 * row for row in rows])
    np.testing.assert_array_equal(np.load(tmp_path / "samples" / "pt2e_output_0.npy")[:, 0], np.add(rows, 100))


def test_every_input_and_output_has_its_own_file(tmp_path: Path) -> None:
    inputs = [np.zeros((2, 3, 4, 4), np.float32), np.ones((2, 7), np.float32)]
    samples = make_samples(inputs, ["a", "b"], ["a", "b"], "arrays")
    reference.write_samples(tmp_path, samples, {"float": (np.zeros((2, 1)), np.zeros((2, 2)))})
    written = {path.name for path in (tmp_path / "samples").iterdir()}
    outputs = {"float_output_0.npy", "float_output_1.npy"}
    assert written == {"input_0.npy", "input_1.npy", "names.json"} | outputs


@pytest.mark.parametrize("damage", ["no names", "no input", "cut off", "pickled", "too few names", "a list"])
def test_damaged_samples_are_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    reference.write_samples(tmp_path, samples_of(3), {})
    place = tmp_path / "samples"
    if damage == "no names":
        (place / "names.json").unlink()
    elif damage == "no input":
        (place / "input_0.npy").unlink()
    elif damage == "cut off":
        (place / "input_0.npy").write_bytes((place / "input_0.npy").read_bytes()[:-8])
    elif damage == "pickled":
        np.save(place / "input_0.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    else:
        text: Any = [] if damage == "a list" else {"source": "photos", "names": ["a"], "groups": ["a"]}
        (place / "names.json").write_text(json.dumps(text))
    with pytest.raises(BundleError, match=rf"^cannot read the samples of {tmp_path.name}: .*; give --data, or export"):
        reference.read_samples(bundle_at(tmp_path))


def test_the_programs_come_back_as_they_were_written(tiny: Any, tmp_path: Path) -> None:
    from edgeds import program as programs

    model = FloatModel(CARD, tiny.float_program, samples_of(2), False, ())
    reference.write_programs(tmp_path, model, tiny.graph)
    bundle = bundle_at(tmp_path, "w8c-a8t-histogram", tiny.tensors)
    quantized = reference.read_quantized(bundle, samples_of(2))
    assert programs.digest(quantized.graph) == programs.digest(tiny.graph)
    assert programs.digest(quantized.source.program) == programs.digest(tiny.float_program)
    assert (quantized.recipe.name, quantized.source.warnings) == ("w8c-a8t-histogram", ("careful",))


def test_a_bundle_that_was_not_quantized_is_told_apart(tiny: Any, tmp_path: Path) -> None:
    reference.write_programs(tmp_path, FloatModel(CARD, tiny.float_program, samples_of(2), False, ()), None)
    assert reference.read_float(bundle_at(tmp_path), samples_of(2)).card == CARD
    with pytest.raises(BundleError, match=r"holds no quantized model; export it with --precision int8$"):
        reference.read_quantized(bundle_at(tmp_path), samples_of(2))


@pytest.mark.parametrize("what", ["model.input_shapes", "model.output_shapes", "quantization"])
def test_a_manifest_that_says_something_else_of_the_programs_is_refused(tiny: Any, tmp_path: Path, what: str) -> None:
    reference.write_programs(tmp_path, FloatModel(CARD, tiny.float_program, samples_of(2), False, ()), tiny.graph)
    bundle = bundle_at(tmp_path, "w8c-a8t-histogram", tiny.tensors[1:] if what == "quantization" else tiny.tensors)
    if what.startswith("model"):
        changed: dict[str, Any] = {what.removeprefix("model."): ((1, 7),)}
        card = replace(CARD, **changed)
        bundle = replace(bundle, manifest=replace(bundle.manifest, model=card))
    with pytest.raises(BundleError, match=rf"its manifest was changed, {what} is not that of the programs"):
        reference.read_quantized(bundle, samples_of(2))
