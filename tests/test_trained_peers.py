"""The zoo's own nets on Fashion-MNIST: how images are made to fit them, and what is measured of other quantizers."""

from __future__ import annotations

import pytest
import torch

from edgeds.spec import Format, Runtime
from tests.bench.trained_peers import PEERS, measure_peers
from tests.trained.accuracy import Row, subject_of
from tests.trained.ds_cnn import WEIGHTS, FashionDSCNN
from tests.trained.enlarge import fitted
from tests.trained.fashion import Fashion, Part, fashion_mnist
from tests.trained.zoo_nets import SIZE, ZOO_NETS

# ai-edge-quantizer reads ranges off all tensors, which LiteRT finds worth a warning
pytestmark = pytest.mark.filterwarnings("ignore:Warning. Enabling `experimental_preserve_all_tensors`:UserWarning")
TESTED = 500  # images


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """The peers' rows of DS-CNN, which is the quickest to lower."""
    data = fashion_mnist()
    few = Part(data.test.images[:TESTED], data.test.labels[:TESTED])
    tested = subject_of(FashionDSCNN, WEIGHTS, Fashion(data.train, few))
    return list(measure_peers(tested, tmp_path_factory.mktemp("peers")))


def test_each_peer_has_a_row_in_the_runtime_that_it_is_made_for(rows: list[Row]) -> None:
    assert [row.net for row in rows] == [f"… by {name}" for name in PEERS]
    assert [[found.runtime for found in row.int8] for row in rows] == [[Runtime.ONNXRUNTIME], [Runtime.LITERT]]
    assert [[cell.format for cell in row.cells] for row in rows] == [[Format.ONNX], [Format.TFLITE]]


def test_a_peers_row_is_of_the_same_weights_and_images_as_edgeds(rows: list[Row]) -> None:
    assert {row.n_images for row in rows} == {TESTED}
    assert {row.parameters for row in rows} == {sum(weight.numel() for weight in FashionDSCNN().parameters())}
    (accuracy,) = {row.accuracy for row in rows}
    assert accuracy > 85


def test_a_peer_whose_ranges_are_the_extremes_keeps_ds_cnns_answers(rows: list[Row]) -> None:
    (minmax,) = rows[0].int8
    assert 97 < minmax.agreement < 100  # 100 would be the float file itself


@pytest.mark.parametrize("net", ZOO_NETS)
def test_the_zoos_nets_take_the_images_that_are_fitted_to_them(net: type[torch.nn.Module]) -> None:
    module = net().eval()
    images = fitted(torch.zeros(2, 1, 28, 28), module.input_shape)  # type: ignore[arg-type]  # a module's attributes might be modules
    assert images.shape == (2, 3, SIZE, SIZE)
    assert module(images).shape == (2, 10)


def test_images_that_fit_are_the_same_memory() -> None:
    images = torch.rand(2, 1, 28, 28)
    assert fitted(images, (1, 1, 28, 28)).data_ptr() == images.data_ptr()


def test_a_ramp_stays_a_ramp_between_its_outer_pixels_centres() -> None:
    """Twice as many pixels have their centres at a quarter and three quarters of each old one: 0.25 steps off them."""
    ramp = torch.arange(28.0).expand(1, 1, 28, 28)
    large = fitted(ramp, (1, 3, 56, 56))
    expected = (torch.arange(56.0) / 2 - 0.25).clamp(0, 27)
    assert torch.allclose(large, expected.expand(1, 3, 56, 56), atol=1e-5)
