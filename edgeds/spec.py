"""Every dataclass that travels between modules. Only the standard library and numpy are imported here.

All of them are frozen; each checks itself when it is made and is trusted afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeds.errors import InputError, ModelError

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[Any]


class Format(StrEnum):
    """What an artifact is written as."""

    EXECUTORCH = "executorch"
    ONNX = "onnx"
    TFLITE = "tflite"


class Precision(StrEnum):
    """What an artifact computes in."""

    INT8 = "int8"
    FP32 = "fp32"


class Runtime(StrEnum):
    """What runs an artifact."""

    EXECUTORCH = "executorch"
    ONNXRUNTIME = "onnxruntime"
    LITERT = "litert"
    TFLITE_RUNTIME = "tflite-runtime"


RUNTIMES_OF: dict[Format, tuple[Runtime, ...]] = {
    Format.EXECUTORCH: (Runtime.EXECUTORCH,),
    Format.ONNX: (Runtime.ONNXRUNTIME,),
    Format.TFLITE: (Runtime.LITERT, Runtime.TFLITE_RUNTIME),
}


class Layout(StrEnum):
    """Order of the axes of an artifact's 4-D inputs and outputs: as PyTorch has them, or channels last."""

    NCHW = "nchw"
    NHWC = "nhwc"


class TfliteIo(StrEnum):
    """What an int8 `.tflite` takes and gives: its own integers, or floats that it converts itself."""

    INT8 = "int8"
    FLOAT = "float"


class Interpolation(StrEnum):
    """How an image is resized (the names are Pillow's)."""

    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    NEAREST = "nearest"


class ColorOrder(StrEnum):
    """What the channels of an image mean."""

    RGB = "rgb"
    BGR = "bgr"
    GRAY = "gray"


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How an image becomes an input: short side to `resize`, centre crop to the input's size, (x/255 - mean) / std.

    `resize` is in pixels, 0 leaves out the resize by short side (the whole image is then squeezed to the
    input's size); `mean` and `std` are one number a channel, for pixels scaled to 0..1.
    """

    resize: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation = Interpolation.BILINEAR
    color_order: ColorOrder = ColorOrder.RGB

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise InputError(
                f"preprocessing has {len(self.mean)} means but {len(self.std)} standard deviations; give one of each a channel"
            )
        if not all(math.isfinite(v) for v in (*self.mean, *self.std)) or min(self.std, default=1.0) <= 0:
            raise InputError(
                f"preprocessing needs finite means and positive standard deviations, not mean {self.mean}, std {self.std}"
            )
        if self.resize < 0:
            raise InputError(
                f"preprocessing cannot resize the short side to {self.resize} pixels; give a positive number, or 0 for none"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A PyTorch model that is ready to be exported.

    `module` is in eval mode. `input_shapes` has one shape for each positional input; the first axis of each is the batch, the
    same in all (see Samples). `weights` says where the weights came from, in words. `seeded` is true where they are random.
    """

    name: str
    module: torch.nn.Module
    input_shapes: tuple[tuple[int, ...], ...]
    weights: str
    seeded: bool = False
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.input_shapes or any(d < 1 for shape in self.input_shapes for d in shape):
            raise InputError(
                f"model {self.name!r} has input shapes {self.input_shapes}; every dimension must be at least 1, like 1,3,224,224"
            )
        if () in self.input_shapes or len({shape[0] for shape in self.input_shapes}) > 1:
            raise ModelError(
                f"model {self.name!r} has input shapes {self.input_shapes}; the first axis of each is the batch and must be the "
                "same in all, like 1,3,224,224 and 1,10; keep what has none inside the model"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Inputs of a model, preprocessed. `inputs[k]` is [N, ...]: N samples of the model's k-th input, without its batch axis.

    `names` says for each sample where it came from (a file's name, or file#index). `digest` is the sha256 of
    the arrays. Samples of one `group` come from the same photo or file and are never split apart.

    A sample is one row, whatever the model's batch. A model with a batch of B takes B samples at once, in their order: a last batch
    that is not full repeats the last sample, and the answers to the repetitions are dropped. (`edgeds.run.agent`, which
    stands alone, does the same.)
    """

    inputs: tuple[Array, ...]
    names: tuple[str, ...]
    groups: tuple[str, ...]
    source: str
    digest: str

    def __post_init__(self) -> None:
        if any(len(a) != len(self.names) for a in self.inputs) or len(self.groups) != len(self.names):
            raise ValueError("every input needs as many samples as there are names and groups")

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, first: int, size: int) -> Array:
        """The indices of the batch of `size` samples that begins at `first`."""
        return np.minimum(np.arange(first, first + size), len(self) - 1)


@dataclass(frozen=True, slots=True)
class DataCard:
    """Which data a step saw: what the user named, how many samples, and the sha256 of the arrays."""

    source: str
    n_samples: int
    digest: str


@dataclass(frozen=True, slots=True)
class Node:
    """One step of a Program.

    `op` is placeholder, get_attr, call_function or output (torch.fx's words); `target` is the input's name, the
    tensor's name, or the operator's (`aten.conv2d.default`). `args` and `kwargs` are JSON values, see
    edgeds.program. `shape` and `dtype` describe the value (empty where it is not one tensor); `module` is the path
    of the user's module that the step comes from (`features.14.conv.1`), `source` the line of the user's code (`net.py:12`, without
    its folder; empty where it is not known).
    """

    name: str
    op: str
    target: str
    args: Any
    kwargs: Any
    shape: tuple[int, ...]
    dtype: str
    module: str
    source: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A graph of ATen operators with its tensors: plain data, so that loading one executes nothing.

    `output_names` are what the user's forward calls its outputs (empty where it is not known).
    """

    nodes: tuple[Node, ...]
    tensors: dict[str, Array]
    input_shapes: tuple[tuple[int, ...], ...]
    output_names: tuple[str, ...] = ()

    @property
    def batch(self) -> int:
        """How many samples it takes at once."""
        return self.input_shapes[0][0]


# What a recipe can do to a model before and while it is quantized, in the order in which it is done.
TECHNIQUES = ("equalize", "headroom", "steps", "round", "bias")
# Short names for recipes.
RECIPES = {"fast": "w8c-a8t-histogram", "best": "w8c-a8t-minmax+equalize+headroom+steps+round+bias"}
# Behind a recipe's name: the layers that stay in float, with commas between them.
KEEPING_FLOAT = "+float:"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is quantized. `name` is a grammar: weights, activations, range observer, then techniques, each with a plus.

    `w8c-a8t-minmax+equalize+headroom+steps+round+bias` has all of them; any may be left out. `fast` and `best` are taken for what they stand for.
    Equalization and learned steps are left out by themselves where they gain nothing on calibration samples.
    Behind that, `+float:features.0,classifier` names layers, or modules with all layers inside, that stay in float.
    """

    name: str = RECIPES["best"]

    def __post_init__(self) -> None:
        integers, separator, kept = self.name.partition(KEEPING_FLOAT)
        integers = RECIPES.get(integers, integers)
        object.__setattr__(self, "name", integers + separator + kept)
        base, *techniques = integers.split("+")
        known = ("w8c-a8t-histogram", "w8c-a8t-minmax")
        if base not in known or techniques != [name for name in TECHNIQUES if name in techniques]:
            raise InputError(
                f"unknown recipe {integers!r}; choose from {', '.join((*RECIPES, *known))}, "
                f"the last two with any of +{'+'.join(TECHNIQUES)} behind, in this order"
            )

    @property
    def integers(self) -> str:
        """The part of the name that says how the integer layers are quantized."""
        return self.name.partition(KEEPING_FLOAT)[0]

    @property
    def observer(self) -> str:
        """How activation ranges are found: `histogram` or `minmax`."""
        return self.integers.split("+")[0].rsplit("-", 1)[1]

    @property
    def techniques(self) -> tuple[str, ...]:
        """What is done beside that, in order."""
        return tuple(self.integers.split("+")[1:])

    @property
    def kept_float(self) -> tuple[str, ...]:
        """The names of what stays in float."""
        return tuple(filter(None, self.name.partition(KEEPING_FLOAT)[2].split(",")))

    def keeping_float(self, names: Sequence[str]) -> Recipe:
        """The same recipe with these layers left in float, and no others."""
        return Recipe(self.integers + (KEEPING_FLOAT + ",".join(sorted(set(names))) if names else ""))


@dataclass(frozen=True, slots=True)
class TensorQuantization:
    """How one tensor is quantized: real = (quantized - zero_point) · scale. Per-channel tensors have one scale a channel."""

    name: str
    module: str
    dtype: str
    quant_min: int
    quant_max: int
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None


@dataclass(frozen=True, slots=True, eq=False)
class FloatModel:
    """A captured model with the samples that its artifacts are validated on: what an export starts from.

    `program` is the model as PyTorch computes it, the float reference. `seeded` is true where the weights are random, so that
    accuracy means nothing.
    """

    card: ModelCard
    program: Program
    validation: Samples
    seeded: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedModel:
    """The one quantized graph that every int8 artifact is made from.

    `graph` is the PT2E graph with weights folded to int8; its eager execution is the PT2E reference. `tensors` has the scale
    and zero point of each of its tensors.
    """

    source: FloatModel
    graph: Program
    recipe: Recipe
    calibration: DataCard
    tensors: tuple[TensorQuantization, ...]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a bundle says of its model.

    `input_names` are those of its forward's parameters. `output_names` are the keys of a dict, the fields of a named tuple, else
    `output_0`, `output_1`…; `features.1` is the second in the list `features`. Artifacts give their outputs in this order.
    """

    name: str
    weights: str
    parameters: int
    input_shapes: tuple[tuple[int, ...], ...]
    output_shapes: tuple[tuple[int, ...], ...]
    preprocess: Preprocess | None
    labels: tuple[str, ...]
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()


class Compute(StrEnum):
    """What an operator of an artifact works in. `convert` is a change between float and int8 (quantize, dequantize)."""

    INT8 = "int8"
    FLOAT32 = "float32"
    CONVERT = "convert"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class OperatorCount:
    """How often an operator stands in an artifact, by what it computes in. Names are the runtime's."""

    name: str
    compute: Compute
    count: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a runtime loads. `path` is relative to its bundle once it is in one.

    `layout` is the order of axes of its 4-D inputs and outputs. `operators` are what the runtime executes (of an ExecuTorch
    program: what its delegates hold); `delegates` counts ExecuTorch's delegates and `outside` names the operators
    outside of them (0 and empty elsewhere). `notes` give the reason for each float operator and each one outside.
    """

    format: Format
    precision: Precision
    path: Path
    sha256: str
    size_bytes: int
    layout: Layout
    operators: tuple[OperatorCount, ...]
    delegates: int
    outside: tuple[str, ...]
    notes: tuple[str, ...]
    toolchain: tuple[str, ...]

    def count(self, compute: Compute) -> int:
        """How many operators compute in `compute`."""
        return sum(operator.count for operator in self.operators if operator.compute is compute)

    @property
    def name(self) -> str:
        """Its short name, like `onnx-int8`."""
        return f"{self.format}-{self.precision}"


class LeftoverKind(StrEnum):
    """What keeps a step of a model from being a fast integer operator. The order is the one of reports, the worst first."""

    REFUSED = "refused"  # the format has no such operator: there is no artifact
    OUTSIDE = "outside"  # outside of ExecuTorch's delegate, which it splits
    BEHIND = "behind"  # outside of it as well, but behind everything that it computes
    FLOAT = "float"
    TRANSPOSE = "transpose"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class Leftover:
    """The steps of one operator that are left. `places` are the user's modules, one for each step; `mend` is what to do about it."""

    kind: LeftoverKind
    operator: str
    places: tuple[str, ...]
    why: str
    mend: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is left of an int8 artifact of one format; nothing where it is integers from end to end, each at its best."""

    format: Format
    leftovers: tuple[Leftover, ...]

    @property
    def refused(self) -> bool:
        """Whether there will be no artifact."""
        return any(found.kind is LeftoverKind.REFUSED for found in self.leftovers)

    @property
    def one_delegate(self) -> bool:
        """Whether ExecuTorch's artifact is one delegate, with nothing outside."""
        return not any(found.kind is LeftoverKind.OUTSIDE for found in self.leftovers)

    @property
    def integer(self) -> bool:
        """Whether all of it is integers: what moves values or is slow is that too."""
        return all(found.kind in (LeftoverKind.TRANSPOSE, LeftoverKind.SLOW) for found in self.leftovers)


@dataclass(frozen=True, slots=True, eq=False)
class RunRecord:
    """What an artifact computed: `outputs[k]` is float32 [N, ...], the model's k-th output for N inputs, batch axis dropped.

    `runtime_version` and `device` say where; `wall_ms` are the measured times of each run (of one batch) on that device.
    """

    artifact_sha256: str
    runtime: Runtime
    runtime_version: str
    device: str
    outputs: tuple[Array, ...]
    wall_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class DriftReport:
    """How far `subject`'s outputs are from `reference`'s, over `n_inputs` inputs.

    Subjects and references are named `float`, `pt2e` or ARTIFACT@RUNTIME (`onnx-int8@onnxruntime`). `sqnr_db` is infinite where both are
    identical. Of several outputs, `sqnr_db`, `cosine` and `max_abs_error` are the worst one's, and `output_sqnr_db` has them all: boxes in
    pixels would hide scores in 0..1. `lsb_histogram` counts output elements by how many quantization steps of the output they differ
    (absolute, rounded; pairs of difference and count), empty for float artifacts. `top1_agreement` is None
    where the output is no vector of scores.
    """

    subject: str
    reference: str
    n_inputs: int
    sqnr_db: float
    cosine: float
    max_abs_error: float
    top1_agreement: float | None
    lsb_histogram: tuple[tuple[int, int], ...] = ()
    output_sqnr_db: tuple[float, ...] = ()

    @property
    def max_lsb(self) -> int | None:
        """The largest difference in quantization steps, None for float artifacts."""
        return max((step for step, _ in self.lsb_histogram), default=None)


@dataclass(frozen=True, slots=True)
class LayerError:
    """How far a runtime's layer is from what PyTorch computes from the same input to that layer.

    `step` is the layer's node in the graph, `operator`, `module` and `source` say what it is in the user's model. `max_error` is in
    quantization steps where the layer's value is `quantized`, else in thousandths of its largest; `share` of the elements is off by
    more than 1.
    """

    step: str
    operator: str
    module: str
    max_error: float
    share: float
    quantized: bool
    source: str


@dataclass(frozen=True, slots=True)
class DriftLimits:
    """What validation accepts. An int8 artifact is judged by SQNR *and* top-1 agreement against the float model, and by how
    far the runtimes' SQNR lie apart; an fp32 artifact by SQNR alone.

    The defaults pass a fair int8 quantization of MobileNetV2 (14 dB) and stop a broken one (under 10 dB, or every fourth
    answer changed); an fp32 artifact differs from eager PyTorch by float rounding only, far over 100 dB. Roundings that add up lay the
    runtimes of a small trained MobileNetV3 1.7 dB apart at 30 dB, each of them right; what lies further apart is worth a look.
    """

    min_int8_sqnr_db: float = 10.0
    min_int8_top1_agreement: float = 0.75
    max_runtime_spread_db: float = 3.0
    min_fp32_sqnr_db: float = 100.0

    def __post_init__(self) -> None:
        for name in ("min_int8_sqnr_db", "min_fp32_sqnr_db"):
            if math.isnan(getattr(self, name)):
                raise InputError(f"{name} nan is no limit; give a number of dB, like 10")
        if not 0 <= self.min_int8_top1_agreement <= 1:
            raise InputError(f"min_int8_top1_agreement {self.min_int8_top1_agreement:g} is no share; give 0 to 1")
        if not self.max_runtime_spread_db >= 0:
            raise InputError(f"max_runtime_spread_db {self.max_runtime_spread_db:g} is no distance; give 0 dB or more")


@dataclass(frozen=True, slots=True)
class FileDigest:
    """What a file in a bundle is checked against: the sha256 of its bytes in hex, and how many there are."""

    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        if len(self.sha256) != 64 or not set(self.sha256) <= set("0123456789abcdef"):
            raise InputError(f"{self.sha256!r} is no sha256; it has 64 hexadecimal digits")
        if self.size_bytes < 0:
            raise InputError(f"a file cannot have {self.size_bytes} bytes")


# What Manifest.schema_version was: 1 = edgeds 0.1, the first.
MANIFEST_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that a bundle says of itself: `manifest.json`, whose keys are these names.

    `recipe` and `calibration` are None where nothing was quantized. The path of each artifact is relative to the
    bundle. `files` has every file of the bundle but manifest.json, by its path with forward slashes. `runtimes` has the version of
    each runtime that the artifacts were validated in. `seeded` is true where the weights are random.
    """

    schema_version: int
    edgeds_version: str
    model: ModelCard
    recipe: str | None
    calibration: DataCard | None
    validation: DataCard
    quantization: tuple[TensorQuantization, ...]
    artifacts: tuple[Artifact, ...]
    drift: tuple[DriftReport, ...]
    limits: DriftLimits
    warnings: tuple[str, ...]
    files: dict[str, FileDigest]
    runtimes: dict[str, str] = field(default_factory=dict)
    seeded: bool = False


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk: its folder, and what its manifest says."""

    path: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Validation:
    """How far every artifact is from the model in every runtime, and which limits that exceeds, a sentence each."""

    drift: tuple[DriftReport, ...]
    runtimes: dict[str, str]
    data: DataCard
    violations: tuple[str, ...]
    warnings: tuple[str, ...]
