"""One tiny seeded model that has every kind of operator the zoo has; quantized and lowered once a session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from filelock import FileLock
from xdist.scheduler import LoadScopeScheduling

from edgeds import program as programs
from edgeds.recipe import Recipe
from edgeds.spec import Array, Artifact, Format, Precision, Program, Samples, TensorQuantization, TfliteIo

if TYPE_CHECKING:
    import torch

    from edgeds.emulator.image import Image

SHAPE = (1, 3, 32, 32)
# Files that share what is made once a session go to one worker, the group that takes longest first; every other file is its own group.
GROUPS = {
    "real photos": ("tests/test_zoo.py", "tests/test_readme.py"),
    "coverage": ("tests/test_coverage.py",),
    "emulator": ("tests/emulator/",),
    "command line": ("tests/cli/",),
    "tiny": (
        "tests/export/",
        "tests/run/",
        "tests/twin/",
        "tests/test_crosscheck.py",
        "tests/test_explain.py",
        "tests/test_lowering.py",
    ),
}


class _ByGroup(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """pytest-xdist's way to keep a scope on one worker, with our groups as scopes, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByGroup:
    config.option.loadscopereorder = False
    return _ByGroup(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: k for k, name in enumerate(GROUPS)}
    items.sort(key=lambda item: rank.get(_group(item.nodeid), len(rank)))


def _group(nodeid: str) -> str:
    file = nodeid.partition("::")[0]
    return next((name for name, paths in GROUPS.items() if file.startswith(paths)), file)


@dataclass(frozen=True, slots=True, eq=False)
class Tiny:
    """The tiny model in all its stages: float, as float artifacts are made from it, quantized; and inputs that it never saw."""

    float_program: Program
    float_export: Program
    graph: Program
    tensors: tuple[TensorQuantization, ...]
    warnings: tuple[str, ...]
    calibration: Samples
    inputs: Array


@dataclass(frozen=True, slots=True, eq=False)
class Lowered:
    """All artifacts of the tiny model, by name (`onnx-int8`; `tflite-float-io` is the int8 one that takes floats), and what lower() told."""

    artifacts: dict[str, Artifact]
    events: tuple[tuple[str, str], ...]
    folder: Path


def tiny_net() -> torch.nn.Module:
    """A separable network with a TF-SAME stride, ReLU6, a residual add, hardswish, squeeze-and-excite, a mean and a linear layer."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, stride=2, bias=False)
            self.stem_norm = nn.BatchNorm2d(8)
            self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
            self.depthwise_norm = nn.BatchNorm2d(8)
            self.pointwise = nn.Conv2d(8, 8, 1)
            self.reduce = nn.Conv2d(8, 4, 1)
            self.expand = nn.Conv2d(4, 8, 1)
            self.head = nn.Conv2d(8, 16, 1)
            self.classifier = nn.Linear(16, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = F.relu6(self.stem_norm(self.stem(F.pad(x, [0, 1, 0, 1]))), inplace=True)
            x = x + self.pointwise(F.relu6(self.depthwise_norm(self.depthwise(x))))
            gate = F.hardsigmoid(self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True)))))
            x = F.hardswish(self.head(x * gate))
            y: torch.Tensor = self.classifier(x.mean((2, 3), keepdim=True).flatten(1))
            return y

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Net().eval()
        for norm in (net.stem_norm, net.depthwise_norm):
            for name, low, high in (("running_mean", -0.2, 0.2), ("running_var", 0.1, 0.3), ("bias", 0.0, 1.0)):
                nn.init.uniform_(norm.get_buffer(name) if name != "bias" else norm.bias, low, high)
    return net


def make_samples(*arrays: Array) -> Samples:
    names = tuple(f"sample {k}" for k in range(len(arrays[0])))
    return Samples(arrays, names, names, "seeded", "0" * 64)


@pytest.fixture(scope="session")
def suite_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that starts empty: what two files export of the big models is quantized and lowered once."""
    return tmp_path_factory.mktemp("suite-cache")


@pytest.fixture(scope="session")
def samples_of() -> Callable[..., Samples]:
    return make_samples


@pytest.fixture(scope="session")
def captured() -> Callable[..., Program]:
    """The float program of a module and its input shapes."""

    def make(module: torch.nn.Module, *shapes: tuple[int, ...]) -> Program:
        import torch

        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch.export warns of its own deprecations
            exported = torch.export.export(module.eval(), tuple(torch.zeros(shape) for shape in shapes))
            return programs.from_graph_module(exported.module(check_guards=False), shapes)

    return make


@pytest.fixture(scope="session")
def evaluate() -> Callable[..., list[Array]]:
    """What a program computes for arrays with a batch axis of N, sample by sample: one array an output."""

    def call(program: Program, *inputs: Array) -> list[Array]:
        import torch

        function = programs.run(program)
        rows = [function(*(torch.from_numpy(x[n : n + 1]) for x in inputs)) for n in range(len(inputs[0]))]
        return [np.concatenate([row[k].numpy() for row in rows]) for k in range(len(rows[0]))]

    return call


@pytest.fixture(scope="session")
def tiny(captured: Callable[..., Program]) -> Tiny:
    from edgeds.quantize.pt2e import float_program_for_export, quantize_program

    rng = np.random.default_rng(0)
    smooth = np.repeat(np.repeat(rng.normal(size=(24, 3, 8, 8)), 4, axis=2), 4, axis=3)
    data = (smooth + 0.2 * rng.normal(size=(24, *SHAPE[1:]))).astype(np.float32)
    calibration = make_samples(data[:16])
    float_program = captured(tiny_net(), SHAPE)
    graph, tensors, notes = quantize_program(float_program, calibration, Recipe("fast"))
    float_export, float_notes = float_program_for_export(float_program, calibration)
    return Tiny(float_program, float_export, graph, tensors, notes + float_notes, calibration, data[16:])


@pytest.fixture(scope="session")
def tiny_artifacts(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Lowered:
    from edgeds.export.lower import lower
    from edgeds.export.worker import Job

    folder = tmp_path_factory.mktemp("tiny")
    stems = {Precision.INT8: folder / "int8", Precision.FP32: folder / "fp32"}
    programs.save(tiny.graph, stems[Precision.INT8])
    programs.save(tiny.float_export, stems[Precision.FP32])
    jobs = [Job(f, p, stems[p], folder / f"{f}-{p}") for f in Format for p in Precision]
    float_io = Job(Format.TFLITE, Precision.INT8, stems[Precision.INT8], folder / "tflite-float-io", TfliteIo.FLOAT)
    events: list[tuple[str, str]] = []
    artifacts = lower([*jobs, float_io], folder, event=lambda job, what: events.append((job.path.name, what)))
    return Lowered({artifact.path.name: artifact for artifact in artifacts}, tuple(events), folder)


@dataclass(frozen=True, slots=True)
class Emulator:
    """A cache with the emulator's image, made once a test run, and what was there before: what the two processes that made it said."""

    cache: Path
    digests: tuple[str, ...]
    progress: tuple[str, ...]


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Emulator:
    """Made by two processes at once, where an interrupted set-up and an older image lay; all workers share it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    cache, said = shared / "emulator-cache", shared / "emulator.json"
    with FileLock(shared / "emulator.lock"):
        if not said.exists():
            _leave_half_a_set_up(cache)
            said.write_text(json.dumps(_set_up_twice(cache)))
    digests, progress = json.loads(said.read_text())
    return Emulator(cache, tuple(digests), tuple(progress))


def _leave_half_a_set_up(cache: Path) -> None:
    wheels = cache / ".emulator" / "downloads" / "wheels"
    wheels.mkdir(parents=True)
    (wheels / "numpy-1.26.4-cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64.whl").write_text("half of it")
    for name in ("image-0000000000000000", ".image-1111111111111111.edgeds-0123abcd"):
        (cache / ".emulator" / name / "host").mkdir(parents=True)


def _set_up_twice(cache: Path) -> tuple[list[str], list[str]]:
    """The digest that each printed, and its progress."""
    code = (
        "import sys; from edgeds.emulator import setup; from edgeds.report.progress import shown\n"
        "with shown(sys.stderr) as progress: print(setup.ensure(progress).digest)"
    )
    pipe = subprocess.PIPE
    env = {**os.environ, "EDGEDS_CACHE": str(cache)}
    both = [subprocess.Popen([sys.executable, "-c", code], env=env, stdout=pipe, stderr=pipe, text=True) for _ in "ab"]
    results = [child.communicate() for child in both]
    assert [child.returncode for child in both] == [0, 0], results
    return [out.strip() for out, _ in results], [err for _, err in results]


@pytest.fixture
def image(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Image:
    """The emulator's image, in the cache that is used during the test."""
    from edgeds.emulator.image import find

    monkeypatch.setenv("EDGEDS_CACHE", str(emulator.cache))
    found = find()
    assert found is not None
    return found
