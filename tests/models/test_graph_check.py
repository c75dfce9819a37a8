"""What a graph may not do: each fault of a user's forward gets one line with its place and the next step."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeds import program as programs
from edgeds.errors import ModelError
from edgeds.models.capture import capture
from edgeds.models.graph_check import place
from edgeds.spec import Model

SHAPE = (1, 3, 8, 8)


HERE = Path(__file__)


@torch.library.custom_op("edgeds_test::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return x * 2


@twice.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Net(nn.Module):
    """A convolution with a bias; what a subclass makes of its output is the fault."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.calls = nn.Buffer(torch.zeros(1))
        self.table = nn.Embedding(5, 3)


class Branch(Net):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        if y.sum() > 0:  # HERE
            return y
        return -y


class Cut(Net):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y[..., : int(x.abs().sum().item()) + 1]  # HERE


class Nonzero(Net):
    def forward(self, x: Tensor) -> Tensor:
        return x.nonzero()  # HERE


class Cond(Net):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,))  # HERE
        return y


class Custom(Net):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = twice(self.conv(x))  # HERE
        return y


class Numpy(Net):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy() + 1)  # HERE


class InPlace(Net):
    def forward(self, x: Tensor) -> Tensor:
        x -= 1  # HERE
        y: Tensor = self.conv(x)
        return y


class Painted(Net):
    def forward(self, x: Tensor) -> Tensor:
        x[:, 0] = 1.0  # HERE
        y: Tensor = self.conv(x)
        return y


class Counting(Net):
    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1  # HERE
        y: Tensor = self.conv(x) * self.calls
        return y


class Dropping(Net):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.conv(x), 0.5)  # HERE


class Random(Net):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x) + torch.randn(4, 1, 1)  # HERE
        return y


class Indexed(Net):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.table(x)  # HERE
        return y


class Indexing(Net):
    def forward(self, x: Tensor) -> Tensor:
        return x[0][x[0]]  # HERE


class Broken(Net):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))  # type: ignore[operator]  # there is none: HERE
        return y


class Listing(Net):
    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return self.conv(x), 3


class Silent(Net):
    def forward(self, x: Tensor) -> None:
        self.conv(x)


class Empty(Net):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return ()


class Scalar(Net):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x).sum()
        return y


class Unbatched(Net):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)[0]
        return y


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


def place_in(name: str) -> str:
    """FILE:LINE of the line marked HERE in a class of this file."""
    lines = HERE.read_text().splitlines()
    start = lines.index(f"class {name}(Net):")
    line = next(n for n in range(start, len(lines)) if lines[n].endswith("HERE")) + 1
    file = HERE.relative_to(Path.cwd()) if HERE.is_relative_to(Path.cwd()) else HERE
    return f" at {file}:{line}"


@pytest.mark.parametrize(
    ("kind", "what", "step"),
    [
        (Branch, "data-dependent expression", "; its control flow depends on the data; make it depend on shapes"),
        (Cut, "data-dependent expression", "or use torch.where"),
        (Nonzero, "Nonzero has a size or a number that depends on the data (aten.nonzero", "; use fixed sizes"),
        (Cond, "Cond has control flow inside its graph (cond", "; make the branch static, or use torch.where"),
        (
            Custom,
            "operator that is not PyTorch's own (edgeds_test.twice.default",
            "; write it with PyTorch's operators",
        ),
        (Numpy, "RuntimeError: .numpy() is not supported", "; make its forward static: only tensor operations"),
        (InPlace, "InPlace changes its input 'x' in place (aten.sub_.Tensor", "; compute a new tensor instead"),
        (Painted, "Painted changes its input 'x' in place (aten.fill_.Tensor", "; compute a new tensor instead"),
        (Counting, "Counting changes its tensor 'calls' when it runs (aten.add_", "; an artifact keeps no state"),
        (Dropping, "Dropping has a layer in training mode (aten.dropout.default", "; pass training=self.training"),
        (Random, "Random draws random numbers (aten.randn.default", "; draw them once in __init__"),
        (
            Indexed,
            "does not run on an input of shape 1,3,8,8: RuntimeError: Expected tensor for",
            "; edgeds feeds float32",
        ),
        (Indexing, "does not run on an input of shape 1,3,8,8: IndexError: tensors used as", "; edgeds feeds float32"),
        (Broken, "AttributeError: 'Broken' object has no attribute 'norm'", "--input-shape, or correct its forward"),
    ],
)
def test_each_fault_of_a_forward_names_its_line_and_the_next_step(kind: type[Net], what: str, step: str) -> None:
    message = refused(model(kind()))
    assert what in message
    assert place_in(kind.__name__) in message
    assert step in message[message.index(place_in(kind.__name__)) :]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Listing, "Listing returns 3 as output 1, which is no tensor; return tensors only"),
        (Silent, "Silent returns None as output 0, which is no tensor; return tensors only"),
        (Empty, "Empty returns nothing; return the tensors that an artifact shall compute"),
        (Scalar, "Scalar gives output 0 of shape (); the first axis must be the batch, which is 1: keep it"),
        (Unbatched, "Unbatched gives output 0 of shape 4,6,6; the first axis must be the batch"),
    ],
)
def test_outputs_that_no_artifact_can_give_are_refused(kind: type[Net], message: str) -> None:
    assert refused(model(kind())).startswith(message)


def test_dropout_and_recurrent_layers_in_eval_mode_are_no_fault() -> None:
    class Recurrent(Net):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(8, 4, num_layers=2, dropout=0.5, batch_first=True)
            self.dropout = nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            y = self.dropout(x.flatten(1, 2))
            z: Tensor = self.gru(F.scaled_dot_product_attention(y, y, y))[0]
            return z

    assert programs.output_shapes(capture(model(Recurrent()))) == ((1, 24, 4),)


def test_the_place_is_the_users_innermost_line_not_torchs_or_pythons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a path below the current folder is shown relative to it
    library = Path(np.__file__).parent.parent / "timm/net.py"
    frames = [("/home/me/net.py", 7), (torch.__file__, 1), (sys.modules["json"].__file__ or "", 2), ("<string>", 3)]
    assert place(frames) == " at /home/me/net.py:7"
    assert place([*frames, (str(library), 5)]) == f" at {library}:5"
    assert place([(str(Path.cwd() / "nets/mine.py"), 4)]) == f" at {Path('nets/mine.py')}:4"
    assert place(frames[1:]) == ""
