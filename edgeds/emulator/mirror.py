"""Where this host gets Debian's packages from: its own apt configuration knows, so that no address is written here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeds.errors import ToolError

# Suites of the archive itself, by name and by role; those for updates and security have a suffix, derivatives other names.
_SUITES = ("stable", "oldstable", "testing", "unstable", "sid", "buster", "bullseye", "bookworm", "trixie", "forky")
_ONE_LINE = re.compile(r"deb\s+(?:\[[^\]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>(?:\s+[^\s#]+)*)")


@dataclass(frozen=True, slots=True)
class _Source:
    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]

    @property
    def is_debian(self) -> bool:
        return any(suite in _SUITES for suite in self.suites) and "main" in self.components


def find(etc: Path = Path("/etc/apt")) -> str:
    """The address of the Debian archive that the apt configuration in `etc` names. ToolError where there is none, as on Ubuntu."""
    found = [source.uri for source in _sources(etc) if source.is_debian]
    # others call their suites alike (`stable main`), but the archive's address mostly ends with its name
    found.sort(key=lambda uri: "debian" not in uri.rstrip("/").rpartition("/")[2])
    if not found:
        raise ToolError(
            f"the apt configuration in {etc} names no Debian archive; give the address of one: edgeds devices setup --mirror URL"
        )
    return found[0]


def _sources(etc: Path) -> Iterator[_Source]:
    """What sources.list and sources.list.d hold; raises OSError where a file cannot be read."""
    folder = etc / "sources.list.d"
    for path in (etc / "sources.list", *sorted(folder.glob("*.list"))):
        if path.is_file():
            yield from _one_line_style(path.read_text(encoding="utf-8", errors="replace"))
    for path in sorted(folder.glob("*.sources")):
        yield from _deb822_style(path.read_text(encoding="utf-8", errors="replace"))


def _one_line_style(text: str) -> Iterator[_Source]:
    """`deb [options] URI SUITE COMPONENT...`, see sources.list(5)."""
    for line in text.splitlines():
        if found := _ONE_LINE.match(line.strip()):
            yield _Source(found["uri"], (found["suite"],), tuple(found["components"].split()))


def _deb822_style(text: str) -> Iterator[_Source]:
    """Paragraphs of `Field: value`, where a line that begins with a blank continues the one before, see sources.list(5)."""
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for paragraph in re.split(r"\n\s*\n", re.sub(r"\n[ \t]+(?=\S)", " ", kept)):
        pairs = (line.partition(":") for line in paragraph.splitlines())
        fields = {name.strip().lower(): value.split() for name, _, value in pairs}
        if "deb" in fields.get("types", []) and fields.get("enabled", ["yes"]) != ["no"]:
            for uri in fields.get("uris", []):
                yield _Source(uri, tuple(fields.get("suites", [])), tuple(fields.get("components", [])))
