"""complexity: the published numbers of the zoo, and every kind of layer counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeds.models import load_model
from edgeds.models.complexity import Complexity, Layer, LayerKind, model_complexity
from edgeds.models.zoo import ZOO
from edgeds.spec import Model


@pytest.fixture(scope="session")
def zoo_complexity() -> Callable[[str], Complexity]:
    """The complexity of a zoo model, made once a session."""
    made: dict[str, Complexity] = {}

    def of(name: str) -> Complexity:
        if name not in made:
            made[name] = model_complexity(load_model(name))
        return made[name]

    return of


def count(module: nn.Module, *shape: int) -> Complexity:
    return model_complexity(Model("mine", module.eval(), (shape,), "random"))


def costs(layer: Layer) -> tuple[LayerKind, int, int, int]:
    return layer.kind, layer.parameters, layer.macs, layer.dense_macs


class Net(nn.Module):
    """The given children, and a forward that is a function of them and x."""

    def __init__(self, forward: Callable[..., Tensor], **children: nn.Module) -> None:
        super().__init__()
        self.function = forward
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def depthwise(channels: int, kernel: int = 3, multiplier: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, channels * multiplier, kernel, padding=kernel // 2, groups=channels, bias=False)


def pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, bias=False)


@pytest.mark.parametrize("name", list(ZOO))
def test_a_zoo_models_layers_hold_all_its_published_parameters(
    name: str, zoo_complexity: Callable[[str], Complexity]
) -> None:
    assert zoo_complexity(name).parameters == ZOO[name].parameters


@pytest.mark.parametrize(
    ("name", "macs", "published", "tolerance"),
    [
        ("mobilenet_v1", 568_740_352, 569e6, 0.001),  # arXiv:1704.04861, table 4
        ("mobilenet_v2", 300_774_272, 300e6, 0.005),  # arXiv:1801.04381, table 4
        # arXiv:1905.02244, table 3 has 219M; torchvision's own count of the same layers is 217M
        ("mobilenet_v3_large", 216_589_760, 219e6, 0.015),
        (
            "mobilenet_v3_small",
            56_510_400,
            56e6,
            0.01,
        ),  # arXiv:1905.02244, table 3 (66M was an earlier version's network)
        # Google's README of EfficientNet-Lite has 407M and does not say what is counted; convolutions alone are 5 % less
        ("efficientnet_lite0", 385_187_552, 407e6, 0.055),
        # arXiv:1711.07128 has 5.4M operations for its small DS-CNN, two a multiply-accumulate
        ("ds_cnn", 2_656_768, 2.7e6, 0.02),
    ],
)
def test_a_zoo_models_macs_are_the_published_ones(
    name: str, macs: int, published: float, tolerance: float, zoo_complexity: Callable[[str], Complexity]
) -> None:
    assert zoo_complexity(name).macs == macs
    assert macs == pytest.approx(published, rel=tolerance)


def test_mobilenet_v1_has_the_papers_shares(zoo_complexity: Callable[[str], Complexity]) -> None:
    """arXiv:1704.04861, table 2. Its parameters are weights only: without batch-norms and the classifier's 1000 biases."""
    found = zoo_complexity("mobilenet_v1")
    kinds = {kind: found.of_kind(kind) for kind in LayerKind}
    assert round(100 * kinds[LayerKind.POINTWISE].mac_share, 2) == 94.86
    assert round(100 * kinds[LayerKind.DEPTHWISE].mac_share, 2) == 3.06
    assert round(100 * kinds[LayerKind.LINEAR].mac_share, 2) == 0.18
    # the paper prints 1.19 %, but its column then sums to 99.29 %
    assert round(100 * kinds[LayerKind.ORDINARY].mac_share, 1) == 1.9
    weights = found.parameters - kinds[LayerKind.BATCH_NORM].parameters - 1000
    assert round(100 * kinds[LayerKind.POINTWISE].parameters / weights, 2) == 74.59
    assert round(100 * kinds[LayerKind.DEPTHWISE].parameters / weights, 2) == 1.06
    assert round(100 * (kinds[LayerKind.LINEAR].parameters - 1000) / weights, 2) == 24.33


def test_mobilenet_v1_without_separable_convolutions_costs_what_the_paper_measured(
    zoo_complexity: Callable[[str], Complexity],
) -> None:
    found = zoo_complexity("mobilenet_v1")
    assert found.dense_macs == pytest.approx(4866e6, rel=0.0005)  # arXiv:1704.04861, table 4: "Conv MobileNet"
    assert found.factor == pytest.approx(4866 / 569, rel=0.001)


def test_each_pair_of_mobilenet_v1_costs_1_over_n_plus_1_over_k_squared(
    zoo_complexity: Callable[[str], Complexity],
) -> None:
    layers = [x for x in zoo_complexity("mobilenet_v1").layers if x.kind in (LayerKind.DEPTHWISE, LayerKind.POINTWISE)]
    assert len(layers) == 26
    for first, second in zip(layers[::2], layers[1::2], strict=True):
        assert (first.kind, first.dense_macs) == (LayerKind.DEPTHWISE, 0)
        ratio = (first.macs + second.macs) / second.dense_macs
        assert ratio == pytest.approx(1 / second.output_shape[1] + 1 / 9)


def test_mobilenet_v2s_expansions_stay_as_they_are(zoo_complexity: Callable[[str], Complexity]) -> None:
    layers = {layer.name: layer for layer in zoo_complexity("mobilenet_v2").layers}
    expansion, projection = layers["features.2.conv.0.0"], layers["features.2.conv.2"]
    assert expansion.dense_macs == expansion.macs
    assert projection.dense_macs == 9 * projection.macs


def test_squeeze_and_excite_between_the_two_does_not_part_them(zoo_complexity: Callable[[str], Complexity]) -> None:
    layers = {layer.name: layer for layer in zoo_complexity("mobilenet_v3_small").layers}
    squeeze, projection = layers["features.4.block.2.fc1"], layers["features.4.block.3.0"]
    assert squeeze.dense_macs == squeeze.macs
    assert projection.dense_macs == 25 * projection.macs
    assert layers["features.4.block.1.0"].dense_macs == 0


def test_squeeze_and_excite_on_a_single_pixel_is_still_no_partner() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.depthwise(x)
        y = y * net.excite(y.mean((2, 3), keepdim=True)).sigmoid()
        out: Tensor = net.project(y)
        return out

    net = Net(forward, depthwise=depthwise(4), excite=pointwise(4, 4), project=pointwise(4, 6))
    found = {layer.name: layer.dense_macs for layer in count(net, 1, 4, 1, 1).layers}
    assert found == {"depthwise": 0, "excite": 16, "project": 9 * 24}


@pytest.mark.parametrize(
    ("layer", "shape", "kind", "parameters", "macs", "dense"),
    [
        (nn.Conv2d(3, 8, 3), (1, 3, 6, 6), LayerKind.ORDINARY, 216 + 8, 16 * 216, 16 * 216),
        (nn.Conv2d(3, 8, 3, padding="same"), (1, 3, 6, 6), LayerKind.ORDINARY, 216 + 8, 36 * 216, 36 * 216),
        (nn.Conv2d(1, 8, 3, bias=False), (1, 1, 6, 6), LayerKind.ORDINARY, 72, 16 * 72, 16 * 72),
        (nn.Conv2d(1, 8, 1, bias=False), (1, 1, 6, 6), LayerKind.POINTWISE, 8, 36 * 8, 36 * 8),
        (nn.Conv2d(8, 4, 1), (1, 8, 6, 6), LayerKind.POINTWISE, 36, 36 * 32, 36 * 32),
        (nn.Conv2d(8, 4, 3, groups=2), (1, 8, 6, 6), LayerKind.GROUPED, 148, 16 * 144, 16 * 144),
        (nn.Conv2d(8, 4, 1, groups=2), (1, 8, 6, 6), LayerKind.GROUPED, 20, 36 * 16, 36 * 16),
        (nn.Conv2d(8, 8, 3, groups=8), (1, 8, 6, 6), LayerKind.DEPTHWISE, 80, 16 * 72, 16 * 9 * 8 * 8),
        (nn.Conv2d(8, 16, 3, groups=8), (1, 8, 6, 6), LayerKind.DEPTHWISE, 160, 16 * 144, 16 * 9 * 8 * 16),
        (nn.Conv1d(4, 4, 5, groups=4), (1, 4, 9), LayerKind.DEPTHWISE, 24, 5 * 20, 5 * 5 * 16),
        (nn.Conv1d(4, 6, 1), (1, 4, 9), LayerKind.POINTWISE, 30, 9 * 24, 9 * 24),
        (nn.Conv3d(2, 3, 2), (1, 2, 3, 3, 3), LayerKind.ORDINARY, 51, 8 * 48, 8 * 48),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (1, 4, 5, 5), LayerKind.TRANSPOSED, 102, 25 * 96, 25 * 96),
        (nn.ConvTranspose2d(4, 4, 2, 2, groups=4), (1, 4, 5, 5), LayerKind.TRANSPOSED, 20, 25 * 16, 25 * 16),
        (nn.ConvTranspose1d(4, 6, 2), (1, 4, 5), LayerKind.TRANSPOSED, 54, 5 * 48, 5 * 48),
        (nn.Linear(7, 3), (1, 7), LayerKind.LINEAR, 24, 21, 21),
        (nn.Linear(7, 3), (1, 5, 7), LayerKind.LINEAR, 24, 5 * 21, 5 * 21),
        (nn.BatchNorm2d(4), (1, 4, 5, 5), LayerKind.BATCH_NORM, 8, 0, 0),
        (nn.BatchNorm2d(4, affine=False), (1, 4, 5, 5), LayerKind.BATCH_NORM, 0, 0, 0),
        (nn.LayerNorm(5), (1, 4, 5), LayerKind.OTHER, 10, 0, 0),
        (nn.PReLU(4), (1, 4, 5, 5), LayerKind.OTHER, 4, 0, 0),
    ],
)
def test_each_kind_of_layer_is_counted_by_hand(
    layer: nn.Module, shape: tuple[int, ...], kind: LayerKind, parameters: int, macs: int, dense: int
) -> None:
    found = count(layer, *shape)
    assert [costs(x) for x in found.layers] == [(kind, parameters, macs, dense)]
    assert found.input_shapes == (shape,)


@pytest.mark.parametrize(
    ("forward", "shape", "macs"),
    [
        (lambda net, x: x @ x.transpose(1, 2), (1, 3, 5), 9 * 5),
        (lambda net, x: torch.bmm(x, x.transpose(1, 2)), (1, 3, 5), 9 * 5),
        (lambda net, x: torch.baddbmm(x, x, x), (1, 3, 3), 27),
        (lambda net, x: torch.addmm(x, x, x.t()), (1, 1), 1),
        (lambda net, x: F.scaled_dot_product_attention(x, x, x[..., :2]), (1, 2, 3, 4), 2 * 3 * 3 * (4 + 2)),
    ],
)
def test_matrix_products_and_attention_are_counted(
    forward: Callable[..., Tensor], shape: tuple[int, ...], macs: int
) -> None:
    found = count(Net(forward), *shape)
    assert [costs(layer) for layer in found.layers] == [(LayerKind.MATMUL, 0, macs, macs)]
    assert found.layers[0].name


def test_a_depth_multiplier_is_part_of_the_pair() -> None:
    first, second = count(nn.Sequential(depthwise(3, 5, multiplier=2), pointwise(6, 7)), 1, 3, 8, 8).layers
    assert costs(first) == (LayerKind.DEPTHWISE, 150, 64 * 150, 0)
    assert costs(second) == (LayerKind.POINTWISE, 42, 64 * 42, 64 * 25 * 3 * 7)


def test_batch_norm_activation_and_dropout_lead_on_to_the_partner() -> None:
    body = nn.Sequential(
        depthwise(4), nn.BatchNorm2d(4), nn.ReLU6(inplace=True), nn.Dropout(), nn.Hardswish(), pointwise(4, 8)
    )
    assert [layer.dense_macs for layer in count(body, 1, 4, 8, 8).layers] == [0, 0, 64 * 9 * 4 * 8]


@pytest.mark.parametrize(
    "between",
    [nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(2), nn.Conv2d(4, 4, 3, padding=1), depthwise(4), nn.Upsample(scale_factor=2)],
)
def test_pooling_or_another_convolution_parts_them(between: nn.Module) -> None:
    first = count(nn.Sequential(depthwise(4), between, pointwise(4, 8)), 1, 4, 8, 8).layers[0]
    assert first.dense_macs == 4 * first.macs


def test_every_partner_of_a_depthwise_convolution_counts() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.depthwise(x).relu()
        return torch.cat([net.a(y), net.b(y)], 1)

    net = Net(forward, depthwise=depthwise(4), a=pointwise(4, 2), b=pointwise(4, 3))
    assert [layer.dense_macs for layer in count(net, 1, 4, 8, 8).layers] == [0, 64 * 9 * 4 * 2, 64 * 9 * 4 * 3]


def test_parallel_depthwise_convolutions_count_at_their_common_partner() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        out: Tensor = net.project(net.a(x) + net.b(x) + x)
        return out

    net = Net(forward, a=depthwise(4, 3), b=depthwise(4, 1), project=pointwise(4, 8))
    assert [layer.dense_macs for layer in count(net, 1, 4, 8, 8).layers] == [0, 0, 64 * (9 + 1) * 4 * 8]


def test_a_residual_branch_does_not_lead_to_the_next_blocks() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = x + net.depthwise(x)
        x = x + net.first(x.relu())
        out: Tensor = x + net.second(x.relu())
        return out

    net = Net(forward, depthwise=depthwise(4), first=pointwise(4, 4), second=pointwise(4, 4))
    found = {layer.name: layer.dense_macs for layer in count(net, 1, 4, 8, 8).layers}
    assert found == {"depthwise": 0, "first": 64 * 9 * 16, "second": 64 * 16}


def test_parameters_that_are_shared_count_once_and_unused_ones_not_at_all() -> None:
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    b.weight = a.weight
    net = Net(lambda net, x: net.b(net.a(net.a(x))), a=a, b=b, unused=nn.Linear(9, 9))
    found = count(net, 1, 4)
    assert [layer.parameters for layer in found.layers] == [16 + 4, 0, 4]
    assert [layer.name for layer in found.layers] == ["a", "a", "b"]
    assert found.macs == 3 * 16


def test_buffers_and_constants_in_the_code_are_no_parameters() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gamma = nn.Parameter(torch.ones(4))
            self.mean = nn.Buffer(torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            return (x - self.mean) * self.gamma + torch.tensor([1.0, 2.0, 3.0, 4.0])

    assert [costs(layer) for layer in count(Scaled(), 1, 4).layers] == [(LayerKind.OTHER, 4, 0, 0)]


def test_a_weight_that_the_graph_computes_is_counted_where_it_is_stored() -> None:
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3, bias=False))
    found = count(conv, 1, 3, 6, 6)
    assert found.parameters == 216 + 8
    assert found.macs == 16 * 216


def test_what_is_not_counted_is_named() -> None:
    found = count(nn.GRU(4, 4, batch_first=True), 1, 3, 4)
    assert found.uncounted == ("gru",)
    assert found.parameters == 2 * 12 * 4 + 2 * 12
    assert count(nn.Linear(4, 4), 1, 4).uncounted == ()


def test_a_model_without_layers_costs_nothing() -> None:
    found = count(nn.ReLU(), 1, 4)
    assert (found.parameters, found.macs, found.dense_macs, found.factor) == (0, 0, 0, 1.0)
    assert found.of_kind(LayerKind.LINEAR).mac_share == 0.0
