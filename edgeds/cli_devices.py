"""The commands about emulated devices, and what is there to emulate them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeds import cli_options as options
from edgeds import cli_outcome as outcome
from edgeds.errors import InputError, ToolError

if TYPE_CHECKING:
    from edgeds.devices.profile import DeviceProfile
    from edgeds.emulator.guest import Counted
    from edgeds.emulator.image import Image
    from edgeds.results import LatencyReport
    from edgeds.trace import Trace

DeviceName = Annotated[str, typer.Option(help="A name that `edgeds devices list` shows.", metavar="NAME")]

app = typer.Typer(
    help="Emulated devices: which there are, and what they are emulated with.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("list")
def list_devices(as_json: options.Json = False) -> None:
    """List the devices whose latency can be estimated."""
    from edgeds import devices
    from edgeds.report import emulation

    profiles = [devices.load(name) for name in devices.names()]
    if as_json:
        outcome.print_json(emulation.devices_json(profiles, devices.unestimable()))
    else:
        outcome.print_result(emulation.devices_table(profiles, devices.unestimable()))


@app.command()
def setup(
    mirror: Annotated[
        str | None,
        typer.Option(
            help="Address of a Debian archive; default: the one in this host's apt configuration.", metavar="URL"
        ),
    ] = None,
) -> None:
    """Assemble in the cache what devices are emulated with, as the first use would: about 200 MB.

    It needs apt-get, dpkg-deb and pip, no root, and changes nothing outside of the cache.
    """
    from edgeds.emulator import setup as emulator

    with outcome.progress(quiet=False) as progress:
        image = emulator.ensure(progress, mirror)
    size = image.size_bytes() / 1e6
    outcome.print_result(f"image {image.digest[:12]} · {size:,.0f} MB · {image.path}")


def doctor(as_json: options.Json = False) -> None:
    """Show what edgeds needs: what is there, in which version and size, and what is missing (exit code 3)."""
    from edgeds.doctor import examine
    from edgeds.report import emulation

    findings = examine()
    if as_json:
        outcome.print_json(emulation.doctor_json(findings))
    else:
        outcome.print_result(emulation.doctor_table(findings))
    if missing := [one.name for one in findings if one.missing]:
        raise ToolError(f"missing: {', '.join(missing)}; the table says what to do")


def emulate(
    program: Annotated[
        Path, typer.Argument(metavar="PROGRAM", help="An ARM64 program for Linux, or a Python script (.py).")
    ],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="ARGS", help="What it is given.")] = None,
    *,
    device: DeviceName,
    time_limit_s: options.TimeLimit = 1800.0,
    as_json: options.Json = False,
) -> None:
    """Run a program on an emulated device, and estimate how long each region takes that it marks.

    Marks are system calls that do nothing anywhere else: 3 before a warm-up run, which fills the caches, 1 before and 2 after what counts.
    One thread should do the work. Python scripts find Python 3.11 with numpy, onnxruntime, ai_edge_litert and tflite_runtime.

    In Python:  def mark(code):
    with contextlib.suppress(OSError): os.getpgid(0x51D0000 | code)

    In C:  static void mark(int code) { syscall(SYS_getpgid, 0x51D0000 | code); }
    """
    from edgeds.emulator import setup as emulator
    from edgeds.report import emulation

    profile = _one_device(device)
    _check_program(program)
    with outcome.progress(as_json) as progress:
        image = emulator.ensure(progress)
        progress.start(f"emulating {program.name}")
        counted = _count(image, profile, program, arguments or [], time_limit_s)
        progress.finish(f"emulating {program.name}")
    sys.stderr.write(counted.finished.stdout + counted.finished.stderr)
    if counted.finished.returncode != 0:
        raise counted.finished.failure(program.name)
    report, regions = _estimates(counted.trace, profile, program.name)
    if as_json:
        outcome.print_json(emulation.emulation_json(report, regions, image.digest))
    else:
        outcome.print_result(emulation.emulation_table(report, regions, image.digest))


def _one_device(name: str) -> DeviceProfile:
    from edgeds import devices

    if "," in name:
        raise InputError(f"--device {name!r} names several devices; emulate runs on one: call it once for each")
    return devices.load(name)


def _estimates(trace: Trace, device: DeviceProfile, name: str) -> tuple[LatencyReport, tuple[LatencyReport, ...]]:
    """The average region of the program called `name`, and each of them, called `region 1` and so on. InputError where there is none."""
    from edgeds.latency.estimate import estimate

    if not trace.regions:
        raise InputError(
            f"{name} marked no region that ended: it made no mark 1, or no mark 2 behind it before it ended; "
            "see `edgeds emulate --help` for the marks"
        )
    parts = (replace(trace, blocks=one.blocks, regions=1, slices=()) for one in trace.slices)
    regions = tuple(estimate(part, device, subject=f"region {k + 1}") for k, part in enumerate(parts))
    return estimate(trace, device, subject=name), regions


def _check_program(program: Path) -> None:
    """InputError where the emulator cannot run it."""
    from edgeds.emulator import elf

    if not program.is_file():
        raise InputError(f"no such program {str(program)!r}; give an ARM64 program for Linux, or a Python script (.py)")
    if program.suffix != ".py" and elf.machine(str(program)) != elf.AARCH64:
        raise InputError(f"{program} is no ARM64 program for Linux, nor a Python script (.py)")


def _count(image: Image, device: DeviceProfile, program: Path, arguments: list[str], time_limit_s: float) -> Counted:
    from edgeds.emulator import guest, slicing

    path = str(program.absolute())
    command = guest.python(image, path, *arguments) if program.suffix == ".py" else [path, *arguments]
    return guest.count(image, device, command, timeout_s=time_limit_s, slices=slicing.REGIONS)
