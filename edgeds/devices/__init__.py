"""Devices as data: a TOML file for each device, and one for each core. Nothing here knows a device by its name.

profile = devices.load("raspberry-pi-4")
profile.core.qemu_cpu, profile.clock_hz, profile.l2.size_bytes
"""

from edgeds.devices.loader import load, load_pipeline, names, unestimable

__all__ = ["load", "load_pipeline", "names", "unestimable"]
