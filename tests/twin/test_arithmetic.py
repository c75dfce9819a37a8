"""Each family of operators against integers that are worked out by hand, or one by one in Python."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from edgeds.errors import ModelError
from edgeds.spec import Array
from edgeds.twin import accumulate, addition, convolution, ends, lookups, means, moves, multiplication, pools
from edgeds.twin.accumulate import Window
from edgeds.twin.constants import broadcast
from edgeds.twin.convolution import Clip, Weights
from edgeds.twin.graph import Quantization

ALL = np.arange(-128, 128, dtype=np.int8)
ONE = Quantization(1.0, 0)


def _compute(compute: object, *arrays: Array) -> Array:
    found: Array = compute(*(torch.from_numpy(array) for array in arrays)).numpy()  # type: ignore[operator]  # a Compute
    return found


def _pairs() -> tuple[Array, Array]:
    a, b = (grid.reshape(-1) for grid in np.meshgrid(ALL, ALL))
    return np.ascontiguousarray(a), np.ascontiguousarray(b)


def test_sums_beyond_float32_are_exact() -> None:
    weights = np.full((1, 2000, 1, 1), 127, np.int8)
    weights[0, 0] = 1  # the last bit of an odd sum, which 24 bits lose
    given = torch.full((1, 2000, 1, 1), -128, dtype=torch.int8)
    sums = accumulate.convolution(weights, np.array([2**24 + 1], np.int32), Quantization(1.0, 127), Window())(given)
    assert sums.dtype == torch.float64
    assert int(sums) == -255 * (1999 * 127 + 1) + 2**24 + 1


def test_sums_that_fit_are_float32() -> None:
    sums = accumulate.linear(np.full((3, 500), 127, np.int8), None, ONE)(torch.full((1, 500), -128, dtype=torch.int8))
    assert sums.dtype == torch.float32
    assert sums.tolist() == [[-128 * 127 * 500] * 3]


def test_a_convolution_pads_with_the_zero_point_rounds_half_to_even_and_clips() -> None:
    weights = Weights(
        np.array([[[[1, 1]]], [[[2, 0]]]], np.int8), np.array([0.5, 0.25], np.float32), np.array([0, 1], np.int32)
    )
    compute = convolution.convolution(
        weights, Window(padding=(0, 0, 1, 0)), Quantization(1.0, 3), Quantization(1.0, -1), Clip(-2, 5)
    )
    found = _compute(compute, np.array([4, 7, 50], np.int8).reshape(1, 1, 3, 1))
    # centred 1, 4, 47 behind a 0: sums 1, 5, 51 and (2 · left + 1) 1, 3, 9; halved and quartered, less one
    assert found.reshape(3, 2).tolist() == [[-1, -1], [1, 0], [5, 1]]


def test_a_linear_layer_takes_one_scale_for_all_channels() -> None:
    weights = Weights(np.array([[2, -1], [0, 3]], np.int8), np.array([0.5], np.float32), None)
    found = _compute(convolution.linear(weights, ONE, Quantization(0.25, 10)), np.array([[3, 1], [100, 100]], np.int8))
    assert found.tolist() == [[20, 16], [127, 127]]


@pytest.mark.parametrize("sign", [1, -1])
def test_an_xnnpack_sum_is_within_half_a_step_and_a_bit_of_the_real_one(sign: int) -> None:
    qa, qb, qy = Quantization(0.031, -7), Quantization(0.0123, 12), Quantization(0.04, 3)
    a, b = _pairs()
    found = _compute(addition.xnnpack_addition(qa, qb, qy, sign), a, b)
    real = ((a - 7.0 * -1) * qa.scale + sign * (b - 12.0) * qb.scale) / qy.scale + 3
    assert np.abs(found - np.clip(real, -128, 127)).max() <= 0.5 + 2**-10


def test_an_xnnpack_sum_rounds_halves_up() -> None:
    compute = addition.xnnpack_addition(Quantization(0.5, 0), Quantization(0.5, 0), ONE)
    assert _compute(compute, np.array([1, -1, 3, -3], np.int8), np.zeros(4, np.int8)).tolist() == [1, 0, 2, -1]


def test_an_mlas_sum_rounds_halves_to_even_of_unsigned_integers() -> None:
    q = Quantization(0.5, 128, "uint8")
    compute = addition.mlas_addition(q, q, Quantization(1.0, 128, "uint8"))
    found = _compute(compute, np.array([129, 127, 131, 255], np.uint8), np.array([128, 128, 128, 255], np.uint8))
    assert found.dtype == np.uint8
    assert found.tolist() == [128, 128, 130, 255]


def test_an_mlas_sum_on_arm_rounds_halves_up_and_is_else_the_same() -> None:
    q, y = Quantization(0.5, 128, "uint8"), Quantization(1.0, 128, "uint8")
    halves = np.array([129, 127, 131, 255], np.uint8), np.array([128, 128, 128, 255], np.uint8)
    assert _compute(addition.mlas_neon_addition(q, q, y), *halves).tolist() == [129, 128, 130, 255]
    qa, qb, qy = (Quantization(scale, zero) for scale, zero in ((0.031, -7), (0.0173, 12), (0.0377, 3)))
    pairs = _pairs()
    arm, x86 = (_compute(model(qa, qb, qy), *pairs) for model in (addition.mlas_neon_addition, addition.mlas_addition))
    assert np.abs(arm.astype(int) - x86).max() <= 1
    assert np.mean(arm != x86) < 1e-3


def test_an_mlas_sum_on_arm_of_scales_too_far_apart_is_refused() -> None:
    with pytest.raises(ModelError, match="too far apart"):
        addition.mlas_neon_addition(ONE, Quantization(2.0**-15, 0), ONE)


@pytest.mark.parametrize("model", [multiplication.xnnpack_multiplication, multiplication.mlas_multiplication])
def test_a_product_of_every_pair_is_the_rounded_real_one(model: object) -> None:
    qa, qb, qy = Quantization(0.5, -3), Quantization(0.25, 5), Quantization(2.0, -10)
    a, b = _pairs()
    found = _compute(model(qa, qb, qy), a, b)  # type: ignore[operator]  # a function
    wide = (a.astype(int) + 3) * (b.astype(int) - 5) / 16
    np.testing.assert_array_equal(found, np.clip(np.rint(wide) - 10, -128, 127))


@pytest.mark.parametrize("count", [1, 4, 49])
def test_a_mean_of_equal_values_is_that_value(count: int) -> None:
    image = np.repeat(ALL.reshape(256, 1, 1, 1), count, axis=1)
    q = Quantization(0.1, 17)
    np.testing.assert_array_equal(_compute(means.xnnpack_mean(q, q, (1, 2), False, count), image).reshape(-1), ALL)
    np.testing.assert_array_equal(_compute(means.mlas_global_mean(q, q, (1, 2), count), image).reshape(-1), ALL)


def test_tables_are_the_functions_of_every_integer() -> None:
    x, y = Quantization(0.05, 4), Quantization(0.03, -2)
    real = (ALL.astype(np.float64) - 4) * x.scale
    expected = {
        "hardswish": (lookups.hardswish, real * np.clip(real + 3, 0, 6) / 6),
        "hardsigmoid": (lookups.hardsigmoid, np.clip(real / 6 + 0.5, 0, 1)),
        "sigmoid": (lookups.sigmoid, 1 / (1 + np.exp(-real))),
        "tanh": (lookups.tanh, np.tanh(real)),
        "leaky": (lookups.leaky_relu(0.1), np.where(real > 0, real, 0.1 * real)),
        "same": (lookups.same, real),
    }
    for table in (lookups.xnnpack_table, lookups.mlas_table):
        for name, (function, values) in expected.items():
            found = _compute(lookups.lookup(table(function, x, y)), ALL)
            exact = np.clip(values / y.scale - 2, -128, 127)
            assert np.abs(found - exact).max() <= 0.5 + 1e-4, name


def test_tflites_own_tables_round_halves_away_from_zero() -> None:
    x, y = Quantization(0.5, 0), Quantization(1.0, -3)
    found = _compute(lookups.lookup(lookups.tflite_table(lookups.same, x, y)), np.array([1, -1, 3, -3, 2], np.int8))
    assert found.tolist() == [-2, -4, -1, -5, -2]


def test_slopes_are_multiples_of_a_256th_and_round_halves_up() -> None:
    x, y = Quantization(0.5, 2), Quantization(1.0, -3)
    found = _compute(lookups.lookup(lookups.xnnpack_slopes(x, y, 0.25)), np.array([3, 5, 1, -2, -6, 2], np.int8))
    # centred 1, 3, -1, -4, -8, 0: halves 0.5 and 1.5 up, an eighth of -1, -4 (-0.5, up) and -8 below
    assert found.tolist() == [-2, -1, -3, -3, -4, -3]


def test_pools_do_not_count_their_padding() -> None:
    image = np.array([-100, -50, 7, 8], np.int8).reshape(1, 2, 2, 1)
    window = Window(padding=(1, 0, 1, 0))
    assert _compute(pools.max_pool((2, 2), window, -128), image).reshape(-1).tolist() == [-100, -50, 7, 8]
    # means of -100; -100, -50; -100, 7; all four: -75, -46.5 and -33.75, halves away from zero
    found = _compute(pools.tflite_average_pool((2, 2), window, Clip(-128, 127)), image)
    assert found.reshape(-1).tolist() == [-100, -75, -47, -34]


def test_the_ends_round_half_to_even_and_clip() -> None:
    x = torch.tensor([0.25, 0.75, -0.25, 1e9, -1e9])
    q = Quantization(0.5, 1)
    for quantize in (ends.quantize, ends.quantize_by_inverse):
        assert quantize(x, q).tolist() == [1, 3, 1, 127, -128]
    assert ends.dequantize(torch.tensor([1, 3, -128], dtype=torch.int8), q).tolist() == [0.0, 1.0, -64.5]


def test_moves_keep_samples_apart() -> None:
    x = np.arange(2 * 3 * 4, dtype=np.int8).reshape(2, 3, 4)
    np.testing.assert_array_equal(_compute(moves.reshape((1, 3, 4), (1, 12)), x), x.reshape(2, 12))
    np.testing.assert_array_equal(_compute(moves.transpose((0, 2, 1)), x), x.transpose(0, 2, 1))
    np.testing.assert_array_equal(_compute(moves.cut((0, 1, 0), (1, 3, 4), (1, 1, 2), (1, 3, 4)), x), x[:, 1:3, ::2])
    np.testing.assert_array_equal(
        _compute(moves.pad((0, 1, 0), (0, 0, 2), 9), x), np.pad(x, ((0, 0), (1, 0), (0, 2)), constant_values=9)
    )
    refused: tuple[tuple[Callable[..., object], tuple[object, ...]], ...] = (
        (moves.reshape, ((1, 3, 4), (3, 4))),
        (moves.transpose, ((1, 0, 2),)),
        (moves.concatenate, (-3, 3)),
        (moves.cut, ((0, 0), (2, 1), (1, 1), (4, 1))),
        (moves.pad, ((1, 0), (0, 0), 0)),
    )
    for move, arguments in refused:
        with pytest.raises(ModelError):
            move(*arguments)


def test_a_value_of_fewer_axes_is_stretched_within_its_own_sample() -> None:
    image = np.arange(2 * 2 * 3 * 4).reshape(2, 2, 3, 4)
    gate, table = np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), np.array([10, 20, 30, 40])
    product = broadcast(torch.mul, [None, None], [(1, 2, 3, 4), (1, 4)])
    np.testing.assert_array_equal(_compute(product, image, gate), image * gate[:, None, None])
    scaled = broadcast(torch.mul, [None, table], [(1, 2, 3, 4), (4,)])
    np.testing.assert_array_equal(_compute(scaled, image), image * table)
    with pytest.raises(ModelError, match="across the batch"):
        broadcast(torch.mul, [None, None], [(1, 2, 3, 4), (3, 4)])


def test_a_scale_must_be_positive() -> None:
    with pytest.raises(ValueError, match="a scale must be positive"):
        Quantization(0.0, 0)
