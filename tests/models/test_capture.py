"""capture: the program is the model, and what does not run is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeds import program as programs
from edgeds.errors import ModelError
from edgeds.models import load_model
from edgeds.models.capture import capture, card
from edgeds.spec import Model, Program

SHAPE = (1, 3, 8, 8)


class Net(nn.Module):
    """A convolution with a bias, for subclasses with a forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)


class Branch(Net):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        if y.sum() > 0:
            return y
        return -y


class Found(NamedTuple):
    boxes: Tensor
    scores: Tensor


class Two(Net):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        z: Tensor = self.conv(x) + y
        return z


def model(module: nn.Module, *shapes: tuple[int, ...]) -> Model:
    return Model(type(module).__name__, module.eval(), shapes or (SHAPE,), "random")


def refused(subject: Model) -> str:
    """The message of the error; it must be one line that is not too long to read."""
    with pytest.raises(ModelError) as e:
        capture(subject)
    message = str(e.value)
    assert "\n" not in message
    assert len(message) < 450
    assert message.startswith((subject.name, f"torch.export cannot export {subject.name}: "))
    return message


def test_a_wrong_input_shape_names_the_shape_and_the_option() -> None:
    message = refused(model(nn.Sequential(nn.Conv2d(3, 4, 3)), (1, 1, 8, 8)))
    assert "Sequential does not run on an input of shape 1,1,8,8: RuntimeError: Given groups=1" in message
    assert message.endswith("; give the shape that it takes with --input-shape, or correct its forward")


def test_a_wrong_number_of_inputs_asks_for_a_shape_each() -> None:
    assert "missing 1 required positional argument: 'y'; give one --input-shape for each" in refused(model(Two()))
    many = refused(model(nn.ReLU(), SHAPE, SHAPE))
    assert "on an input of shape 1,3,8,8 and 1,3,8,8: TypeError" in many
    assert "give one --input-shape for each" in many


def test_a_layer_left_in_training_mode_is_named_before_it_runs() -> None:
    norm = nn.BatchNorm2d(4)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), norm).eval()
    norm.train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(ModelError, match=r"^mine is in training mode \(1\); call \.eval\(\) on it first$"):
        capture(Model("mine", module, (SHAPE,), "random"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # that is what the user should hear
def test_a_part_in_torchscript_is_named() -> None:
    scripted = torch.jit.script(nn.ReLU())
    module = nn.Sequential(nn.Conv2d(3, 4, 3), scripted)
    assert refused(model(module)) == (
        "Sequential has a TorchScript part (1), which torch.export does not take; give the Python module instead"
    )
    assert " is TorchScript, which torch.export does not take; " in refused(model(scripted))


def test_in_place_operators_on_its_own_values_and_constants_in_the_code_are_no_fault() -> None:
    class Busy(Net):
        def forward(self, x: Tensor) -> Tensor:
            y = F.relu(self.conv(x), inplace=True)
            y[:, 0] = 1.0
            y += torch.tensor([[[1.0]], [[2.0]], [[3.0]], [[4.0]]])
            return y.mul_(2)

    agrees(model(Busy()))


def test_a_program_has_one_bias_a_convolution_and_none_that_the_model_has_not() -> None:
    program = capture(model(nn.Sequential(nn.Conv2d(3, 4, 3, bias=True), nn.Conv2d(4, 2, 3, bias=False))))
    convolutions = [node for node in program.nodes if node.target == "aten.conv2d.default"]
    assert [len(node.args) > 2 and node.args[2] is not None for node in convolutions] == [True, False]
    assert {name: array.shape for name, array in program.tensors.items() if "bias" in name} == {"0.bias": (4,)}


def test_several_outputs_come_flattened_in_their_order() -> None:
    class Heads(Net):
        def forward(self, x: Tensor) -> dict[str, Tensor | tuple[Tensor, Tensor]]:
            y = self.conv(x)
            return {"map": y, "both": (y.mean((2, 3)), y.amax((2, 3)))}

    program = agrees(model(Heads()))
    assert programs.output_shapes(program) == ((1, 4, 6, 6), (1, 4), (1, 4))
    assert program.output_names == ("map", "both.0", "both.1")


@pytest.mark.parametrize(
    ("wrap", "names"),
    [
        (lambda y: y, ("output",)),
        (lambda y: (y,), ("output_0",)),
        (lambda y: [y, y + 1], ("output_0", "output_1")),
        (lambda y: Found(y, y + 1), ("boxes", "scores")),
        (lambda y: (y, {"a b": y + 1}), ("output_0", "output_1.a_b")),
        (lambda y: {3: y, "3": y + 1}, ("output_0", "output_1")),
        (lambda y: {"a.b": y, "a_b": y + 1}, ("output_0", "output_1")),
    ],
)
def test_outputs_are_called_what_the_forward_calls_them(
    wrap: Callable[[Tensor], object], names: tuple[str, ...]
) -> None:
    class Wrapped(Net):
        def forward(self, x: Tensor) -> object:
            return wrap(self.conv(x))

    subject = model(Wrapped())
    program = agrees(subject)
    assert program.output_names == card(subject, program).output_names == names


def test_a_batch_of_more_than_one_is_captured_as_it_is() -> None:
    class Rigid(Net):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x).view(4, -1)
            return y

    program = agrees(model(Rigid(), (4, 3, 8, 8)))
    assert (program.batch, programs.output_shapes(program)) == (4, ((4, 144),))


def test_a_model_that_mixes_the_samples_of_a_batch_is_refused() -> None:
    class Centred(Net):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = self.conv(x)
            return {"own": y, "all": y - y.mean(0, keepdim=True)}

    class Causal(Net):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = self.conv(x)
            return {"own": y, "all": torch.cat([y[:1], y[1:] + y[:-1]])}

    for kind in (Centred, Causal):
        message = refused(model(kind(), (4, 3, 8, 8)))
        assert message.startswith(f"{kind.__name__} mixes the 4 samples of its batch in 'all', so that")
        assert "make all of them one sample: --input-shape 1,4,3,8,8, with x[0] in its forward" in message


def test_a_batch_of_integers_is_not_taken_for_mixed() -> None:
    class Tokens(Net):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.table(x.long())
            return y

        table = nn.Embedding(5, 3)

    agrees(model(Tokens(), (2, 6)), integers=True)


def test_several_inputs_keep_their_order() -> None:
    program = agrees(model(Two(), SHAPE, (1, 4, 6, 6)))
    assert program.input_shapes == (SHAPE, (1, 4, 6, 6))
    assert [(node.target, node.shape) for node in program.nodes if node.op == "placeholder"] == [
        ("x", SHAPE),
        ("y", (1, 4, 6, 6)),
    ]


def agrees(subject: Model, integers: bool = False) -> Program:
    """The program; it computes what the module does on random inputs."""
    from torch.utils._pytree import tree_leaves

    program = capture(subject)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=generator) for shape in subject.input_shapes]
    if integers:
        inputs = [x.abs().clamp(max=4).floor() for x in inputs]
    with torch.no_grad():
        expected = tree_leaves(subject.module(*inputs))
    found = programs.run(program)(*inputs)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)
    return program


def test_capturing_leaves_the_model_as_it_was() -> None:
    subject = model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()))
    before = {name: tensor.clone() for name, tensor in subject.module.state_dict().items()}
    capture(subject)
    assert not any(part.training for part in subject.module.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in subject.module.state_dict().items())


def test_nothing_but_the_error_reaches_the_screen(capfd: pytest.CaptureFixture[str]) -> None:
    refused(model(Branch()))
    capture(model(nn.Conv2d(3, 4, 3)))
    assert capfd.readouterr() == ("", "")


def test_an_interrupt_is_not_taken_for_a_fault_of_the_model() -> None:
    class Interrupted(Net):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture(model(Interrupted()))


def test_the_card_says_what_the_model_is() -> None:
    subject = model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    made = card(subject, capture(subject))
    assert (made.name, made.weights, made.parameters) == ("Sequential", "random", 108 + 4 + 8)
    assert (made.input_shapes, made.output_shapes) == ((SHAPE,), ((1, 4, 6, 6),))
    assert (made.input_names, made.output_names) == (("input",), ("output",))


def test_an_archive_gives_the_program_of_the_model_that_it_was_made_from(tmp_path: Path) -> None:
    subject = model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout()))
    batch = torch.export.Dim("batch")
    exported = torch.export.export(subject.module, (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, tmp_path / "model.pt2")
    direct, loaded = capture(subject), agrees(load_model(str(tmp_path / "model.pt2")))
    assert [(node.target, node.shape) for node in loaded.nodes] == [(node.target, node.shape) for node in direct.nodes]
    for name, tensor in direct.tensors.items():
        np.testing.assert_array_equal(loaded.tensors[name], tensor)


class HalfPrecision(Net):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y: Tensor = self.conv(x)
        return y.float()


def test_autocast_is_refused_with_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"half has a region of torch.autocast \(.*\); leave it out"):
        capture(Model("half", HalfPrecision().eval(), (SHAPE,), "random"))
