"""What a program reads to learn which core it runs on, as files of a named device.

QEMU looks up every absolute path in the folder given with -L first. There is one such folder for a run: links to the guest's root,
and /proc/cpuinfo and /sys/devices/system/cpu of a device with one core. So Linux's cpuinfo library, glibc, XNNPACK and MLAS choose the
kernels that they choose there. One core, because several would start threads, which take turns at random.
"""

from __future__ import annotations

from pathlib import Path

from edgeds.devices.profile import Cache, DeviceProfile

LINE_BYTES = 64
_ARCHITECTURE = 0xF  # "see the feature registers", as every ARMv8 core says


def write(device: DeviceProfile, guest: Path, folder: Path) -> None:
    """Makes `folder`, which must not exist: the root folder `guest` as it looks on `device`."""
    folder.mkdir()
    for entry in guest.iterdir():
        (folder / entry.name).symlink_to(entry)
    for name, text in files(device).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def files(device: DeviceProfile) -> dict[str, str]:
    """The text of each file that tells of the processor, by its path below the root."""
    cpu = "sys/devices/system/cpu"
    found = {"proc/cpuinfo": _cpuinfo(device), f"{cpu}/kernel_max": "255", f"{cpu}/isolated": ""}
    found |= {f"{cpu}/{name}": "0" for name in ("possible", "present", "online")}
    for name, text in _core(device).items():
        found[f"{cpu}/cpu0/{name}"] = text
    caches = [(1, "Data", device.l1d), (1, "Instruction", device.l1d), (2, "Unified", device.l2)]
    if device.l3:
        caches.append((3, "Unified", device.l3))
    for index, (level, kind, cache) in enumerate(caches):
        for name, text in _cache(level, kind, cache).items():
            found[f"{cpu}/cpu0/cache/index{index}/{name}"] = text
    return found


def _cpuinfo(device: DeviceProfile) -> str:
    core = device.cpuinfo
    fields = {
        "processor": 0,
        "BogoMIPS": "108.00",
        "Features": core.features,
        "CPU implementer": core.implementer,
        "CPU architecture": 8,
        "CPU variant": core.variant,
        "CPU part": core.part,
        "CPU revision": core.revision,
    }
    return "".join(f"{name}\t: {value}\n" for name, value in fields.items())


def _core(device: DeviceProfile) -> dict[str, str]:
    khz = str(device.clock_hz // 1000)
    topology = dict.fromkeys(("physical_package_id", "core_id"), "0")
    topology |= {
        f"{name}_list": "0"
        for name in ("core_siblings", "thread_siblings", "cluster_cpus", "package_cpus", "core_cpus")
    }
    return {
        "cpufreq/cpuinfo_max_freq": khz,
        "cpufreq/cpuinfo_min_freq": khz,
        "cpufreq/scaling_cur_freq": khz,
        "cpu_capacity": "1024",
        "regs/identification/midr_el1": f"0x{_main_id(device):016x}",
    } | {f"topology/{name}": text for name, text in topology.items()}


def _main_id(device: DeviceProfile) -> int:
    """MIDR_EL1: implementer, variant, architecture, part, revision (Arm DDI 0487, D19.2)."""
    core = device.cpuinfo
    implementer, variant, part = (int(text, 16) for text in (core.implementer, core.variant, core.part))
    return implementer << 24 | variant << 20 | _ARCHITECTURE << 16 | part << 4 | core.revision


def _cache(level: int, kind: str, cache: Cache) -> dict[str, str]:
    return {
        "level": str(level),
        "type": kind,
        "size": f"{cache.size_bytes // 1024}K",
        "shared_cpu_list": "0",
        "coherency_line_size": str(LINE_BYTES),
        "ways_of_associativity": str(cache.ways),
        "number_of_sets": str(cache.size_bytes // (LINE_BYTES * cache.ways)),
    }
