"""How fast latencies are estimated: counting against plain emulation, three runtimes on three devices, and the same again. `make bench`."""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import edgeds
from edgeds import devices, pipeline
from edgeds.cache import cache_dir
from edgeds.data.samples import take
from edgeds.emulator import guest, setup
from edgeds.emulator.image import EXECUTORCH, Image
from edgeds.process import Finished
from edgeds.reference import read_samples
from edgeds.run import host
from edgeds.spec import RUNTIMES_OF, Artifact, Bundle, Runtime
from tests.bench.photos import mobilenet_v2_weights

DEVICES = ("raspberry-pi-3b-plus", "raspberry-pi-4", "raspberry-pi-5")
RUNTIMES = (Runtime.EXECUTORCH, Runtime.ONNXRUNTIME, Runtime.LITERT)
COUNTING_LIMIT = 1.5
CACHES_LIMIT = 2.5
N_MORE = 4
SECOND_LIMIT = 0.2


def main() -> None:
    """Prints times and ratios with their limits; exit code 1 where a ratio is exceeded."""
    image = setup.ensure()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        quantized = edgeds.quantize(edgeds.load_model("mobilenet_v2", weights=str(mobilenet_v2_weights())))
        bundle = pipeline.export(quantized, work / "bundle")
        exceeded = [_exceeds(bundle, runtime, image, work) for runtime in RUNTIMES]
        exceeded.append(_bench_is_slow(bundle, work))
    raise SystemExit(any(exceeded))


@dataclass(frozen=True, slots=True)
class Seconds:
    """Wall time, and CPU time of the guests in it: the one is what people wait, the other what a machine in use does not blur."""

    wall: float
    cpu: float


def _seconds(work: Callable[[], object]) -> Seconds:
    start, used = time.perf_counter(), _cpu_s()
    work()
    return Seconds(time.perf_counter() - start, _cpu_s() - used)


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def _exceeds(bundle: Bundle, runtime: Runtime, image: Image, work: Path) -> bool:
    """What counting instructions, and simulating caches as well, adds to one inference, by CPU time.

    A process makes two inferences of its first sample, both counted if anything is, and one of each other sample, which never is. So starting
    and loading, which are emulated plainly, do not dilute the ratios.
    """
    device = devices.load(DEVICES[0])
    artifact = next(a for a in bundle.manifest.artifacts if runtime in RUNTIMES_OF[a.format])
    command, stdin = _command(bundle, artifact, runtime, image, work / runtime, 1)
    more, more_stdin = _command(bundle, artifact, runtime, image, work / f"{runtime}-more", 1 + N_MORE)
    plain = _seconds(lambda: _done(guest.start(image, device, command, stdin))).cpu
    inference = (_seconds(lambda: _done(guest.start(image, device, more, more_stdin))).cpu - plain) / N_MORE
    counting = _seconds(lambda: _done(guest.count(image, device, command, stdin, caches=False).finished)).cpu
    caches = _seconds(lambda: _done(guest.count(image, device, command, stdin).finished)).cpu
    ratios = [1 + (cpu - plain) / (2 * inference) for cpu in (counting, caches)]
    print(
        f"{artifact.name}@{runtime} on {device.name}: {plain:.1f} s of CPU, an inference {inference:.2f} s; counting {ratios[0]:.2f} "
        f"(limit {COUNTING_LIMIT}), with caches {ratios[1]:.2f} (limit {CACHES_LIMIT})",
        flush=True,
    )
    return ratios[0] > COUNTING_LIMIT or ratios[1] > CACHES_LIMIT


def _command(
    bundle: Bundle, artifact: Artifact, runtime: Runtime, image: Image, folder: Path, n_samples: int
) -> tuple[list[str], str]:
    """What the emulator starts for an artifact, and its stdin."""
    folder.mkdir()
    inputs = take(read_samples(bundle), range(n_samples)).inputs
    path = (bundle.path / artifact.path).absolute()
    if runtime is Runtime.EXECUTORCH:
        for k, x in enumerate(inputs):
            x.tofile(folder / f"input_{k}.raw")
        return [str(image.guest / EXECUTORCH / "executorch_runner"), str(path), str(folder), str(n_samples)], ""
    asked = host.request(artifact, path, runtime, inputs, folder) | {"mark": True}
    return guest.python(image, str(host.AGENT)), json.dumps(asked)


def _done(finished: Finished) -> None:
    if finished.returncode:
        raise finished.failure("the emulated runtime")


def _bench_is_slow(bundle: Bundle, work: Path) -> bool:
    """Wall time of three runtimes on three devices with an empty cache but for the image; and of the same again."""
    cache = work / "cache"
    cache.mkdir()
    (cache / ".emulator").symlink_to(cache_dir() / ".emulator")
    os.environ["EDGEDS_CACHE"] = str(cache)
    first, second = (_seconds(lambda: pipeline.bench(bundle, DEVICES, runtimes=RUNTIMES)) for _ in range(2))
    print(f"{len(RUNTIMES)} runtimes on {len(DEVICES)} devices: {first.wall:.1f} s, {first.cpu:.1f} s of CPU in guests")
    print(
        f"again {second.wall:.1f} s, second / first = {second.wall / first.wall:.2f} (limit {SECOND_LIMIT})", flush=True
    )
    return second.wall > SECOND_LIMIT * first.wall


if __name__ == "__main__":
    main()
