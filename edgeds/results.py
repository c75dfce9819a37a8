"""What measuring a bundle or a model gave: latencies on devices, accuracy on labelled data, and what each layer costs.

Frozen like those of edgeds.spec, from which they are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from edgeds.spec import DataCard, DriftReport


class Method(StrEnum):
    """How a latency was found: on the device, from what was executed under emulation, or by a rule from that."""

    MEASURED = "measured"
    EMULATED = "emulated"
    PROJECTED = "projected"


@dataclass(frozen=True, slots=True)
class KernelTime:
    """What one function takes of an inference; `share` is of all the time.

    `symbol` is its name, or its place (`libx.so+0x1a634`) and main instruction where the library has no names. Both are empty for code in no library.
    """

    symbol: str
    library: str
    ms: float
    share: float


@dataclass(frozen=True, slots=True)
class LayerTime:
    """What one operator of an artifact takes of an inference; `share` is of all operators' time, 0..1.

    `module` is the user's module whose value it computes, empty where that is not known; `name` is the runtime's name of it, or its number.
    """

    module: str
    name: str
    operator: str
    ms: float
    share: float


@dataclass(frozen=True, slots=True)
class LatencyReport:
    """How long one inference of `subject` (ARTIFACT@RUNTIME, or a program) takes on `device`.

    `method` says what kind of number that is. `low_ms` and `high_ms` are its error on published times, see
    edgeds.latency.estimate. `core_ms` is what
    it would take with every access a hit in L1, `memory_ms` what comes to that. `instructions`, `dot_products` (SDOT, UDOT) and
    `matrix_products` (SMMLA and its like) are executions in one inference, of `n_regions` that were counted. `peak_bytes` is the most
    that was resident. `layers` are its operators in their order where that was asked for, with `layers_note` on what they leave out, or why there
    are none.
    """

    subject: str
    artifact_sha256: str
    device: str
    threads: int
    method: Method
    ms: float
    low_ms: float
    high_ms: float
    core_ms: float
    memory_ms: float
    instructions: int
    dot_products: int
    matrix_products: int
    kernels: tuple[KernelTime, ...]
    peak_bytes: int | None
    n_regions: int
    layers: tuple[LayerTime, ...] = ()
    layers_note: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.low_ms <= self.ms <= self.high_ms:
            raise ValueError(f"{self.ms} ms has to lie within {self.low_ms} and {self.high_ms}")


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `total` samples, and the 95 % interval of the share that they estimate, 0..1."""

    count: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share, 0..1."""
        return self.count / self.total


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often `subject` (`float`, or ARTIFACT@RUNTIME) gives a labelled sample's class: first, or among its first five.

    `top5` is None where there are five classes or fewer. `lost` samples are right in the float model alone, `won` in the subject
    alone; `p_value` is that of McNemar's exact test of the two, None for the float model itself. `agreement` is the share of samples whose first class is
    the float model's, right or wrong.
    """

    subject: str
    artifact_sha256: str
    top1: Share
    top5: Share | None
    lost: int
    won: int
    p_value: float | None
    agreement: float


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A sample to which some subject gives another class than the float model. `said` has each subject's first class, by index."""

    sample: str
    label: int
    said: dict[str, int]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The accuracy of the float model and of every artifact in its runtimes, on the same labelled samples.

    `classes` are the names of the classes by index, empty where they have none. `disagreements` stand with those first that cost a right answer.
    """

    model: str
    data: DataCard
    classes: tuple[str, ...]
    accuracy: tuple[Accuracy, ...]
    disagreements: tuple[Disagreement, ...]
    runtimes: dict[str, str]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FloatCost:
    """What layers in float change for `subject` (ARTIFACT@RUNTIME) on `device`: SQNR against the float model and milliseconds of one
    inference, with these layers in float and with all in int8 (`whole_…`).
    """

    subject: str
    device: str
    sqnr_db: float
    whole_sqnr_db: float
    ms: float
    whole_ms: float


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Latencies of a bundle's artifacts on emulated devices, and how far what they answered there is from PyTorch, by device.

    `violations` has a sentence for each of the bundle's limits that was exceeded on a device. `image_digest` says with which programs
    the devices were emulated. `float_costs` has what layers in float gain and cost, where an export was asked for some.
    """

    latencies: tuple[LatencyReport, ...]
    drift: dict[str, tuple[DriftReport, ...]]
    violations: tuple[str, ...]
    image_digest: str
    float_costs: tuple[FloatCost, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What quantizing one layer alone costs: SQNR of the outputs against the float model, in dB, infinite where nothing changes.

    `sqnr_db` is with its weights and the value that it hands on in int8, `weights_db` and `activations_db` with one of the two (None where
    it has none). `share` is its part of the noise power of all layers, 0..1. `name` is what `--keep-float` takes, `operator` is `input` for an input.
    `readers` are the layers that read its value.
    """

    name: str
    operator: str
    sqnr_db: float
    weights_db: float | None
    activations_db: float | None
    share: float
    readers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The layers of a model by what quantizing each alone costs, the most costly first, and the SQNR with all of them in int8."""

    layers: tuple[LayerCost, ...]
    whole_db: float
    n_samples: int
