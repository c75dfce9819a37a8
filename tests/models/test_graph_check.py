"""What a graph may not do: each fault of a user's forward gets one line with its place and the next step."""

from __future__ import annotations

import sys
from dataclasses import dataclass
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


class Item(Net):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x) / x.max().item()  # HERE
        return y


class Masked(Net):
    def forward(self, x: Tensor) -> Tensor:
        return x[x > 0]  # HERE


class Asserted(Net):
    def forward(self, x: Tensor) -> Tensor:
        assert x.min() >= 0  # HERE
        y: Tensor = self.conv(x)
        return y


class Spectrum(Net):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.fft.rfft(x).abs()  # HERE
        return y


class Windowed(Net):
    def forward(self, x: Tensor) -> Tensor:
        window = torch.ones(16)
        return torch.stft(x.flatten(1), 16, window=window, return_complex=True).abs()  # HERE


class Half(Net):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x).half()  # HERE
        return y


class Double(Net):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x).double() * 0.1  # HERE
        return y


class Unkept(Net):
    def __init__(self) -> None:
        super().__init__()
        self.batch_norm = nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.batch_norm(self.conv(x))  # HERE
        return y


@dataclass
class Found:
    boxes: Tensor


class Fields(Net):
    def forward(self, x: Tensor) -> Found:  # HERE
        return Found(self.conv(x))


class OnCuda(Net):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x.to("cuda"))  # HERE
        return y


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


class Missing(Net):
    def forward(self, x: Tensor) -> dict[str, Tensor | None]:
        return {"out": self.conv(x), "aux": None}


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
        (Numpy, "RuntimeError: .numpy() is not supported", "; use PyTorch's functions instead of NumPy's"),
        (
            Item,
            "Item has a size or a number that depends on the data (aten.item",
            "; keep it a tensor: leave out .item()",
        ),
        (Masked, "depends on the data (aten.index.Tensor", "; use fixed sizes, and torch.where instead of indexing"),
        (Asserted, "data-dependent expression", "; its control flow depends on the data"),
        (Spectrum, "Spectrum computes complex numbers (aten.fft_rfft", "; compute the spectrum before the model"),
        (Windowed, "Windowed computes complex numbers (aten.stft", "; compute the spectrum before the model"),
        (Half, "Half computes in float16 (aten.to.dtype", "; use float32: leave out .half()"),
        (Double, "Double computes in float64 (aten.to.dtype", "make constants float32"),
        (
            Unkept,
            "normalizes with the batch's own statistics (aten.batch_norm",
            "; leave out track_running_stats=False",
        ),
        (Fields, "Found <class '", "; return tensors, or a dict, list, tuple or named tuple of them"),
        (OnCuda, "OnCuda does not run on an input of shape 1,3,8,8: ", "; leave out .cuda() and .to(device)"),
        (InPlace, "InPlace changes its input 'x' in place (aten.sub_.Tensor", "; compute a new tensor instead"),
        (Painted, "Painted changes its input 'x' in place (aten.fill_.Tensor", "; compute a new tensor instead"),
        (Counting, "Counting changes its tensor 'calls' when it runs (aten.add_", "; an artifact keeps no state"),
        (Dropping, "Dropping has a layer in training mode (aten.dropout.default", "; pass training=self.training"),
        (Random, "Random draws random numbers (aten.randn.default", "; draw them once in __init__"),
        (
            Indexed,
            "does not run on an input of shape 1,3,8,8: RuntimeError: Expected tensor for",
            "; edgeds feeds float32 inputs; make them integers inside (x.long())",
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
        (Listing, "Listing returns 3 as 'output_1', which is no tensor; return tensors only"),
        (Silent, "Silent returns None as 'output', which is no tensor; return tensors only"),
        (Missing, "Missing returns None as 'aux', which is no tensor; return tensors only"),
        (Empty, "Empty returns nothing; return the tensors that an artifact shall compute"),
        (Scalar, "Scalar gives 'output' of shape (); the first axis must be the batch, which is 1: keep it"),
        (Unbatched, "Unbatched gives 'output' of shape 4,6,6; the first axis must be the batch"),
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


def test_each_step_of_a_program_notes_the_users_line_without_its_folder() -> None:
    program = capture(model(nn.Sequential(nn.Conv2d(3, 4, 3))))
    assert {node.source for node in program.nodes if node.op == "call_function"} == {
        ""
    }  # PyTorch's lines are not the user's
    program = capture(model(Labelled()))
    assert {node.source for node in program.nodes if node.op == "call_function"} == {
        Path(place_in("Labelled").removeprefix(" at ")).name
    }


class Labelled(Net):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x).relu()  # HERE
        return y
