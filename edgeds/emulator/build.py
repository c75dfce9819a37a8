"""The two programs that the image has of its own, built with the compiler in the wheel `ziglang`, which needs nothing of the host."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.resources import as_file, files
from pathlib import Path

from edgeds.process import run_process

SOURCES = ("plugin.c", "executorch_runner.cpp")
# What the runner is linked with; kernels and backends register themselves when they are loaded.
EXECUTORCH_LIBRARIES = tuple(
    f"libexecutorch{name}.so"
    for name in ("", "_backend_xnnpack", "_kernels_optimized", "_kernels_quantized", "_threadpool")
)

_HOST = "-target x86_64-linux-gnu.2.28"
_GUEST = "-target aarch64-linux-gnu.2.28"  # ExecuTorch's wheel is for manylinux_2_28
# Exceptions and run-time types would need the C++ library that ExecuTorch's libraries were not built with.
_RUNNER = f"{_GUEST} -std=c++17 -O2 -w -fno-exceptions -fno-rtti -DC10_USING_CUSTOM_GENERATED_MACROS"


def plugin(compiler: Path, output: Path) -> None:
    """Builds plugin.c for the host's QEMU. ToolError where the compiler fails."""
    with _source("plugin.c") as source:
        _run(compiler, ["cc", *_HOST.split(), "-O2", "-shared", "-fPIC", "-s", "-o", str(output), str(source)])


def executorch_runner(compiler: Path, executorch: Path, cpp_library: Path, output: Path) -> None:
    """Builds executorch_runner.cpp for the guest, to lie beside its libraries. ToolError where the compiler fails.

    `executorch` is the folder of that name in the wheel, `cpp_library` the guest's libstdc++.so.6.
    """
    include = executorch / "include"
    headers = [f"-I{include}", f"-I{include / 'executorch/runtime/core/portable_type/c10'}"]
    libraries = [str(executorch / "lib" / name) for name in EXECUTORCH_LIBRARIES]
    compiled = output.with_suffix(".o")
    with _source("executorch_runner.cpp") as source:
        _run(compiler, ["c++", *_RUNNER.split(), *headers, "-c", str(source), "-o", str(compiled)])
    # by `cc`: `c++` would first build a C++ library of its own, for a minute
    link = [
        "cc",
        *_GUEST.split(),
        "-s",
        str(compiled),
        "-o",
        str(output),
        "-Wl,--no-as-needed",
        *libraries,
        str(cpp_library),
    ]
    _run(compiler, [*link, "-Wl,-rpath,$ORIGIN", "-Wl,--allow-shlib-undefined"])
    compiled.unlink()


def _source(name: str) -> AbstractContextManager[Path]:
    return as_file(files("edgeds.emulator").joinpath(name))


def _run(compiler: Path, arguments: Sequence[str]) -> None:
    caches = {name: str(compiler.parent / "cache") for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")}
    done = run_process([str(compiler), *arguments], env=caches)
    if done.returncode != 0:
        raise done.failure("building a program for the emulator")
