"""Debian's packages, downloaded and unpacked as an ordinary user, into folders of our own.

apt-get runs with private folders, so that neither the host's package lists nor its packages change. The suite is always bookworm, so
that every host runs the same QEMU. Trust: apt accepts only what the keys in debian-archive-keyring have signed. Debian has those
keys installed; where they are missing (Ubuntu), they come in the package of that name from the host's own archive, which apt checks
with the host's own keys.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeds.errors import ToolError
from edgeds.folders import digest_file
from edgeds.process import Finished, run_process

SUITE = "bookworm"
TOOLS = ("apt-get", "apt-config", "dpkg-deb")

# QEMU and the libraries that it is linked with (as `ld.so --list` shows), for the host.
HOST_PACKAGES = [
    "libc6",
    "libcapstone4",
    "libffi8",
    "libgcc-s1",
    "libglib2.0-0",
    "libgmp10",
    "libgnutls30",
    "libhogweed6",
    "libidn2-0",
    "libnettle8",
    "libnuma1",
    "libp11-kit0",
    "libpcre2-8-0",
    "libtasn1-6",
    "libunistring2",
    "liburing2",
    "qemu-user",
    "zlib1g",
]
# Python and what the runtimes' wheels are linked with, for the guest.
GUEST_PACKAGES = [
    "libbz2-1.0",
    "libc6",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "libgomp1",
    "liblzma5",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libssl3",
    "libstdc++6",
    "python3.11-minimal",
    "zlib1g",
]

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_DEB_NAME = re.compile(r"(?P<name>[^_]+)_(?P<version>[^_]+)_(?P<architecture>[^_]+)\.deb")
_URI_LINE = re.compile(r"'[^']+' (?P<file>\S+\.deb) \d+ ")


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package as a file."""

    name: str
    version: str
    architecture: str
    sha256: str
    path: Path


class Archive:
    """The archive at `mirror`, seen through apt with its folders in `folder`; downloads stay in `folder/debs`.

    Its signature is checked with the keys in the file `keyring`, which are fetched where the host has no such file.
    Methods raise ToolError where apt-get is missing, the archive is not reached, or its signature is not trusted.
    """

    def __init__(self, folder: Path, mirror: str, keyring: Path = KEYRING) -> None:
        if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
            raise ToolError(
                f"{missing[0]} is missing, which the emulated devices are assembled with; use a Debian or Ubuntu host or container"
            )
        self._folder = folder
        self._mirror = mirror
        self._keyring = keyring
        self._config = _make_private(folder / "apt")
        self._debs = folder / "debs"
        self._debs.mkdir(exist_ok=True)

    def update(self) -> None:
        """Reads the archive's signed package lists."""
        keyring = self._keyring if self._keyring.is_file() else self._fetch_keyring()
        line = f"deb [arch=amd64,arm64 signed-by={keyring}] {self._mirror} {SUITE} main\n"
        (self._folder / "apt" / "etc" / "sources.list").write_text(line)
        self._apt(["update", "-o", "APT::Update::Error-Mode=any"], "reading the package lists of")

    def download(self) -> tuple[Package, ...]:
        """All packages of the host and the guest; those that are there already are checked, not fetched again."""
        names = [*(f"{p}:amd64" for p in HOST_PACKAGES), *(f"{p}:arm64" for p in GUEST_PACKAGES)]
        self._apt(["download", *names], "downloading from", self._debs)
        # elsewhere, for it is silent about those that are there
        listed = self._apt(["download", "--print-uris", *names], "asking").stdout
        return tuple(_package(self._debs / name) for name in sorted(_URI_LINE.findall(listed)))

    def _fetch_keyring(self) -> Path:
        """The package debian-archive-keyring from the host's own archive, unpacked."""
        folder = self._folder / "host-apt"
        config = _make_private(folder, etc=Path("/etc/apt"))
        what = "fetching debian-archive-keyring, which is not installed, with"
        for arguments in (["update"], ["download", "debian-archive-keyring"]):
            _run_apt(
                config, folder, arguments, f"{what} the host's own apt configuration", "install debian-archive-keyring"
            )
        unpack(sorted(folder.glob("debian-archive-keyring_*.deb"))[-1:], self._folder / "keyring")
        return self._folder / "keyring" / KEYRING.relative_to("/")

    def _apt(self, arguments: Sequence[str], doing: str, folder: Path | None = None) -> Finished:
        next_step = "check the network, or give another archive: edgeds devices setup --mirror URL"
        where = folder or self._folder
        return _run_apt(self._config, where, arguments, f"{doing} the Debian archive {self._mirror}", next_step)


def unpack(debs: Iterable[Path], folder: Path) -> None:
    """The files of packages, without running anything of them. ToolError where that fails, as on a full disk."""
    folder.mkdir(parents=True, exist_ok=True)
    for deb in debs:
        done = run_process(["dpkg-deb", "-x", str(deb), str(folder)])
        if done.returncode != 0:
            raise done.failure(f"unpacking {deb.name}")


def _make_private(folder: Path, etc: Path | None = None) -> Path:
    """Writes an apt.conf with all folders in `folder`; returns its path. Sources and keys are those in `etc`, by default in `folder`.

    Of the host's settings only proxies and the like are taken: others would run the host's hooks.
    """
    for name in ("etc/parts", "state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "state" / "status").touch()
    settings = {
        "Dir": folder,
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "state" / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Etc": etc or folder / "etc",
        "Dir::Etc::main": folder / "none",
        "Dir::Etc::parts": folder / "etc" / "parts",
        "Dir::Etc::preferencesparts": folder / "etc" / "parts",
        "Dir::Etc::netrc": "/etc/apt/auth.conf",
        "Dir::Etc::netrcparts": "/etc/apt/auth.conf.d",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "APT::Sandbox::User": "root",  # root's apt would else download as a user who cannot enter a home folder
    }
    if etc is None:
        settings["APT::Architecture"] = "amd64"
    lines = [*_host_settings(), *(f'{key} "{value}";' for key, value in settings.items())]
    lines += ['APT::Architectures { "amd64"; "arm64"; };'] if etc is None else []
    path = folder / "apt.conf"
    path.write_text("\n".join(lines) + "\n")
    return path


def _host_settings() -> list[str]:
    dumped = run_process(["apt-config", "dump"]).stdout.splitlines()
    return [line for line in dumped if re.match(r"Acquire::(https?|ForceIPv)", line)]


def _run_apt(config: Path, folder: Path, arguments: Sequence[str], doing: str, next_step: str) -> Finished:
    """Runs apt-get in `folder`, where it downloads to."""
    command = ["env", f"--chdir={folder}", "apt-get", "--quiet", "--yes", *arguments]
    done = run_process(command, env={"APT_CONFIG": str(config), "LC_ALL": "C"})
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("E: ")] or done.stderr.splitlines()
        reason = errors[0].removeprefix("E: ") if errors else f"exit code {done.returncode}"
        raise ToolError(f"{doing} failed: {reason}; {next_step}")
    return done


def _package(path: Path) -> Package:
    match = _DEB_NAME.fullmatch(path.name)
    assert match, path  # apt names them
    version = match["version"].replace("%3a", ":")
    return Package(match["name"], version, match["architecture"], digest_file(path).sha256, path)
