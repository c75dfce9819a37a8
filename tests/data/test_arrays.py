"""Inputs from .npz and .npy files: shapes, types, names, and what is refused."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgeds.data import load_samples, make_samples, resolve
from edgeds.errors import DataError, InputError
from edgeds.spec import Samples

AUDIO = ((1, 1, 49, 10),)
TWO = ((1, 3), (1, 2, 2))


def values(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def load(path: Path, shapes: tuple[tuple[int, ...], ...] = AUDIO, limit: int | None = None) -> Samples:
    return load_samples(path, shapes, None, limit)


def test_a_npy_file_is_read_as_it_is(tmp_path: Path) -> None:
    array = values(5, 1, 49, 10)
    np.save(tmp_path / "clips.npy", array)
    samples = load(tmp_path / "clips.npy")
    assert np.array_equal(samples.inputs[0], array) and samples.inputs[0].dtype == np.float32
    assert samples.names == samples.groups == tuple(f"clips.npy#{i}" for i in range(5))
    assert samples.source == "clips.npy"


def test_a_kept_batch_axis_is_dropped(tmp_path: Path) -> None:
    array = values(5, 1, 49, 10)
    np.savez(tmp_path / "a.npz", array[:, None])
    assert np.array_equal(load(tmp_path / "a.npz").inputs[0], array)


def test_the_suffix_may_be_upper_case(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", values(5, 1, 49, 10))
    (tmp_path / "a.npz").rename(tmp_path / "A.NPZ")
    assert len(load(tmp_path / "A.NPZ")) == 5


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4", "int8", "int64", "uint16"])
def test_floats_and_integers_become_float32(tmp_path: Path, dtype: str) -> None:
    array = (np.arange(980).reshape(2, 1, 49, 10) % 100).astype(dtype)
    np.save(tmp_path / "a.npy", np.asfortranarray(array))
    got = load(tmp_path / "a.npy").inputs[0]
    assert got.dtype == np.dtype("=f4") and got.flags.c_contiguous and np.array_equal(got, array)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 1, 49, 10), np.uint8), r"a\.npy is uint8, raw pixels most likely; preprocess"),
        (np.zeros((2, 1, 49, 10), bool), r"a\.npy is of type bool; give float32"),
        (np.zeros((2, 1, 49, 10), complex), "is of type complex128"),
        (np.array(["x"]), "is of type <U1"),
        (np.zeros((0, 1, 49, 10), np.float32), "holds 0 samples"),
        (values(2, 49, 10), r"has shape \[2, 49, 10\] but the model needs \[N, 1, 49, 10\]"),
        (values(2, 49, 10, 1), r"channels last, save array\.transpose\(0, 3, 1, 2\)"),
        (values(1, 49, 10), r"one sample without the first axis, save array\[None\]"),
        (np.float32(1), r"has shape \[\]"),
    ],
)
def test_an_array_that_is_no_input_is_refused_by_name(tmp_path: Path, array: npt.ArrayLike, message: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.npy")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_a_value_that_is_not_finite_is_refused_with_file_and_row(tmp_path: Path, bad: float) -> None:
    array = values(5, 1, 49, 10).astype(np.float64)
    array[3, 0, 7, 2] = bad
    np.savez(tmp_path / "clips.npz", array)
    with pytest.raises(DataError, match=r"clips\.npz#3 has 1 values that are NaN, Inf or too large for float32"):
        load(tmp_path / "clips.npz")


def test_a_constant_sample_is_refused_with_file_and_row(tmp_path: Path) -> None:
    array = values(5, 1, 49, 10)
    array[2] = 0.5
    np.savez(tmp_path / "clips.npz", array)
    with pytest.raises(DataError, match=r"clips\.npz#2 is constant, every value is 0\.5"):
        load(tmp_path / "clips.npz")


def test_one_constant_input_beside_another_and_single_numbers_are_fine(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", input0=np.ones((4, 3)), input1=values(4, 2, 2))
    assert len(load(tmp_path / "a.npz", TWO)) == 4
    np.save(tmp_path / "b.npy", np.ones((4, 1)))
    assert len(load(tmp_path / "b.npy", ((1, 1),))) == 4


def test_one_array_may_have_any_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", mfcc=values(3, 1, 49, 10))
    assert len(load(tmp_path / "a.npz")) == 3


@pytest.mark.parametrize("name", ["inputs", "x", "arr_0"])
def test_beside_labels_the_input_is_found_by_its_name(tmp_path: Path, name: str) -> None:
    arrays: dict[str, npt.NDArray[np.float32]] = {"labels": np.zeros(3, np.float32), name: values(3, 1, 49, 10)}
    np.savez(tmp_path / "a.npz", allow_pickle=False, **arrays)
    assert np.array_equal(load(tmp_path / "a.npz").inputs[0], arrays[name])


@pytest.mark.parametrize("names", [("mfcc", "labels"), ("x", "inputs")])
def test_names_that_leave_a_choice_are_refused_and_listed(tmp_path: Path, names: tuple[str, str]) -> None:
    np.savez(tmp_path / "a.npz", allow_pickle=False, **{name: values(3, 1, 49, 10) for name in names})
    with pytest.raises(DataError, match=rf"a\.npz has arrays {names[0]}, {names[1]}; give one array, or name"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize("pattern", ["arr_{}", "input{}", "input_{}"])
def test_several_inputs_are_read_in_the_order_of_their_numbers(tmp_path: Path, pattern: str) -> None:
    first, second = values(4, 3), values(4, 2, 2)
    np.savez(tmp_path / "a.npz", allow_pickle=False, **{pattern.format(1): second, pattern.format(0): first})
    samples = load(tmp_path / "a.npz", TWO)
    assert np.array_equal(samples.inputs[0], first) and np.array_equal(samples.inputs[1], second)


def test_several_inputs_may_have_the_names_of_the_forwards_parameters(tmp_path: Path) -> None:
    first, second = values(4, 3), values(4, 2, 2)
    np.savez(tmp_path / "a.npz", numbers=first, image=second, labels=np.zeros(4))
    samples, _ = resolve(str(tmp_path / "a.npz"), "net", TWO, None, input_names=("numbers", "image"))
    assert np.array_equal(samples.inputs[0], first) and np.array_equal(samples.inputs[1], second)
    with pytest.raises(DataError, match=r"give a \.npz with arrays named image, depth$"):
        resolve(str(tmp_path / "a.npz"), "net", TWO, None, input_names=("image", "depth"))


def test_whole_batches_are_taken_apart_into_samples(tmp_path: Path) -> None:
    array = values(3, 4, 1, 49, 10)
    np.savez(tmp_path / "a.npz", array)
    samples = load(tmp_path / "a.npz", ((4, 1, 49, 10),))
    assert np.array_equal(samples.inputs[0], array.reshape(12, 1, 49, 10))


def test_several_inputs_under_other_names_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", left=values(4, 3), right=values(4, 2, 2))
    with pytest.raises(DataError, match=r"has arrays left, right but the model has 2 inputs; .* named input0, input1"):
        load(tmp_path / "a.npz", TWO)
    np.save(tmp_path / "a.npy", values(4, 3))
    with pytest.raises(DataError, match=r"is one array but the model has 2 inputs; .* named input0, input1"):
        load(tmp_path / "a.npy", TWO)


def test_inputs_of_different_lengths_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", values(4, 3), values(5, 2, 2))
    with pytest.raises(DataError, match=r"has inputs of \[4, 5\] samples"):
        load(tmp_path / "a.npz", TWO)


class Trap:
    """Says so when it is unpickled."""

    def __reduce__(self) -> tuple[type[RuntimeError], tuple[str]]:
        return RuntimeError, ("unpickled",)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_pickled_objects_are_never_loaded(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    trap = np.array([Trap()], dtype=object)
    np.save(file, trap, allow_pickle=True) if suffix == "npy" else np.savez(file, trap, allow_pickle=True)
    with pytest.raises(DataError, match=rf"cannot read .*a\.{suffix}: .*pickled objects, which are never loaded"):
        load(file)
    file.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataError, match="not a NumPy file, or one of pickled objects"):
        load(file)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_array_file_is_refused_by_name(tmp_path: Path, suffix: str, part: float) -> None:
    file = tmp_path / f"a.{suffix}"
    np.save(file, values(5, 1, 49, 10)) if suffix == "npy" else np.savez_compressed(file, values(5, 1, 49, 10))
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(DataError, match=rf"cannot read .*a\.{suffix}: [^\n]+$"):
        load(file)


def test_damaged_compressed_data_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", values(5, 1, 49, 10))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[2000:2100] = bytes(100)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read .*a\.npz"):
        load(tmp_path / "a.npz")


def test_a_damaged_header_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", values(5, 1, 49, 10))
    content = (tmp_path / "a.npy").read_bytes()
    # without its closing bracket the header makes NumPy raise a tokenize.TokenError
    (tmp_path / "a.npy").write_bytes(content.replace(b"10), }", b"10)   "))
    with pytest.raises(DataError, match=r"cannot read .*a\.npy: [^\n]+; save plain numbers"):
        load(tmp_path / "a.npy")


def test_a_limit_takes_evenly_spaced_rows_and_keeps_their_numbers(tmp_path: Path) -> None:
    array = values(10, 1, 49, 10)
    np.save(tmp_path / "a.npy", array)
    samples = load(tmp_path / "a.npy", limit=4)
    assert samples.names == ("a.npy#0", "a.npy#2", "a.npy#5", "a.npy#7")
    assert np.array_equal(samples.inputs[0], array[[0, 2, 5, 7]])


def test_a_limit_of_0_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", values(10, 1, 49, 10))
    with pytest.raises(InputError, match="cannot take 0 samples"):
        load(tmp_path / "a.npy", limit=0)


def test_the_digest_covers_type_shape_and_bytes() -> None:
    array = values(2, 3)
    expected = hashlib.sha256(b"<f4(2, 3)" + array.tobytes()).hexdigest()
    assert make_samples([array], "ab", "ab", "x").digest == expected
    changed = array.copy()
    changed[1, 2] += 1
    others = (changed, array.reshape(2, 3, 1), array.view(np.int32))
    assert len({expected, *(make_samples([a], "ab", "ab", "x").digest for a in others)}) == 4


def test_inputs_of_another_model_are_refused_and_none_of_them_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "two.npz"
    np.savez(path, input0=np.ones((4, 3)), input1=np.ones((4, 3)))
    with pytest.raises(
        DataError, match=r"two\.npz has arrays input0, input1, but the model has one input; save that one"
    ):
        load(path, ((1, 3),))
