"""Devices as data."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

import pytest

from edgeds import devices
from edgeds.devices import loader
from edgeds.errors import InputError

FOLDER = files("edgeds.devices")


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.toml").read_text()


def tables_with_numbers(table: dict[str, Any], path: str = "") -> dict[str, dict[str, Any]]:
    found = {path: table} if any(type(value) in (int, float) for value in table.values()) else {}
    for key, value in table.items():
        if isinstance(value, dict):
            found |= tables_with_numbers(value, f"{path}.{key}")
    return found


@pytest.mark.parametrize("name", devices.names())
def test_every_device_loads_and_its_caches_have_whole_sets(name: str) -> None:
    profile = devices.load(name)
    assert profile.name == name
    for cache in filter(None, (profile.l1d, profile.l2, profile.l3)):
        assert cache.size_bytes % (64 * cache.ways) == 0
    assert (profile.l3 is None) == (profile.memory.l3 is None)


@pytest.mark.parametrize("name", devices.names())
def test_every_number_of_a_device_has_a_source(name: str) -> None:
    tables = tables_with_numbers(tomllib.loads(text_of(name)))
    tables.pop("")  # how many cores: its clock's source says so
    assert tables and all(len(table["source"]) > 10 for table in tables.values())


def test_the_l2_of_a_slower_pi_4_is_slower_by_the_ratio_of_the_clocks() -> None:
    fast, slow = devices.load("raspberry-pi-4"), devices.load("raspberry-pi-4-1.5ghz")
    assert slow.l2_ns == 5.77
    assert fast.l2_ns == pytest.approx(5.77 * 1.5 / 1.8)


def test_a_line_of_dram_costs_what_the_measured_bandwidths_say() -> None:
    pi = devices.load("raspberry-pi-4")
    assert pi.dram_read_ns == pytest.approx(64 / 3.6569, rel=0.001)
    assert pi.dram_copy_ns == pytest.approx(64 / 2.3108, rel=0.001)
    assert pi.dram_fill_ns == pytest.approx(64 / 2.6892, rel=0.001)


@pytest.mark.parametrize("name", devices.names())
def test_a_copy_takes_longer_than_its_read_and_no_longer_than_what_was_measured_of_both_twice(name: str) -> None:
    device = devices.load(name)
    assert device.dram_read_ns < device.dram_copy_ns < 2 * (device.dram_read_ns + device.dram_fill_ns)


def test_an_unknown_device_is_refused_with_the_nearest_name_and_all_choices() -> None:
    with pytest.raises(
        InputError, match=r"unknown device 'raspbery-pi4'; did you mean raspberry-pi-4\? choose from"
    ) as error:
        devices.load("raspbery-pi4")
    assert all(name in str(error.value) for name in devices.names())


def test_a_phone_without_a_public_pipeline_is_known_but_not_estimated() -> None:
    with pytest.raises(InputError, match="iphone-15 can be exported for, but not estimated: its apple-a16") as error:
        devices.load("iphone-15")
    assert all(core in str(error.value) for core in loader.cores())


def test_devices_that_cannot_be_estimated_are_not_offered_as_choices() -> None:
    assert not set(devices.names()) & set(devices.unestimable())
    assert not set(devices.unestimable().values()) & set(loader.cores())


def test_a_core_without_a_pipeline_is_refused_with_those_that_have_one() -> None:
    text = text_of("raspberry-pi-4").replace('"cortex-a72"', '"cortex-x1"')
    with pytest.raises(InputError, match=r"'mine' has the core 'cortex-x1', which has no pipeline; those that have"):
        loader.decode(text, "mine")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("hz = 1_800_000_000", "hz = 1_800_000_000\nghz = 1.8", "clock.ghz: unexpected keyword argument"),
        ("size_bytes = 32_768", "", "l1d.size_bytes: field required"),
        ("ways = 2", 'ways = "two"', "l1d.ways: input should be a valid integer"),
        ("[l1d]", "[l1d", "'mine': "),
    ],
)
def test_a_profile_with_a_wrong_key_is_refused_with_its_place(old: str, new: str, message: str) -> None:
    text = text_of("raspberry-pi-4").replace(old, new, 1)
    with pytest.raises(InputError, match=message):
        loader.decode(text, "mine")
