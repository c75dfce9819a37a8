"""What a program is told about the core that it runs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeds import devices
from edgeds.emulator import prefix

CPU = "sys/devices/system/cpu/cpu0"


# as these boards show them in /sys/devices/system/cpu/cpu0/regs/identification/midr_el1
@pytest.mark.parametrize(
    ("name", "midr"),
    [("raspberry-pi-3b-plus", 0x410FD034), ("raspberry-pi-4", 0x410FD083), ("raspberry-pi-5", 0x414FD0B1)],
)
def test_a_device_has_the_identity_of_its_core(name: str, midr: int) -> None:
    assert int(prefix.files(devices.load(name))[f"{CPU}/regs/identification/midr_el1"], 16) == midr


@pytest.mark.parametrize("name", devices.names())
def test_the_sizes_of_caches_agree_with_their_geometry(name: str) -> None:
    device = devices.load(name)
    files = prefix.files(device)
    levels = [device.l1d, device.l1d, device.l2, *([device.l3] if device.l3 else [])]
    for index, cache in enumerate(levels):
        folder = f"{CPU}/cache/index{index}"
        sets, ways = int(files[f"{folder}/number_of_sets"]), int(files[f"{folder}/ways_of_associativity"])
        assert sets * ways * 64 == cache.size_bytes == int(files[f"{folder}/size"].removesuffix("K")) * 1024
    assert f"{CPU}/cache/index{len(levels)}/size" not in files


def test_there_is_one_core_and_the_features_are_the_device_s() -> None:
    device = devices.load("raspberry-pi-5")
    files = prefix.files(device)
    assert files["proc/cpuinfo"].count("processor") == 1
    assert f"Features\t: {device.cpuinfo.features}\n" in files["proc/cpuinfo"]
    assert files["sys/devices/system/cpu/present"] == "0"


def test_a_root_folder_is_the_guest_s_with_the_device_s_files(tmp_path: Path) -> None:
    (tmp_path / "guest" / "lib").mkdir(parents=True)
    (tmp_path / "guest" / "lib" / "libc.so.6").touch()
    prefix.write(devices.load("raspberry-pi-4"), tmp_path / "guest", tmp_path / "prefix")
    assert (tmp_path / "prefix" / "lib" / "libc.so.6").exists()
    assert "0xd08" in (tmp_path / "prefix" / "proc" / "cpuinfo").read_text()
