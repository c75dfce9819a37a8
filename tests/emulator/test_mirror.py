"""Which Debian archive the host uses, from apt configurations as they are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeds.emulator import mirror
from edgeds.errors import ToolError

DEBIAN_12 = """\
Types: deb
# http://snapshot.example/archive/debian-archive/20250520T000000Z
URIs: http://archive.example/debian-archive
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://archive.example/debian-security
Suites: bookworm-security
Components: main
"""
CLOUD = """\
Types: deb deb-src
URIs: mirror+file:///etc/apt/mirrors/debian.list
Suites: bookworm bookworm-updates
 bookworm-backports
Components:
 main
"""
UBUNTU = """\
Types: deb
URIs: http://ubuntu.example/ubuntu/
Suites: noble noble-updates
Components: main universe
"""


def etc(folder: Path, **files: str) -> Path:
    (folder / "sources.list.d").mkdir()
    for name, text in files.items():
        where = folder if name == "sources_list" else folder / "sources.list.d"
        (where / name.replace("_", ".")).write_text(text)
    return folder


def test_a_debian_host_names_its_archive(tmp_path: Path) -> None:
    assert mirror.find(etc(tmp_path, debian_sources=DEBIAN_12)) == "http://archive.example/debian-archive"


def test_a_cloud_image_lists_mirrors_in_a_file_and_continues_lines(tmp_path: Path) -> None:
    assert mirror.find(etc(tmp_path, debian_sources=CLOUD)) == "mirror+file:///etc/apt/mirrors/debian.list"


def test_the_old_one_line_style_with_options_and_comments(tmp_path: Path) -> None:
    text = (
        "# deb http://old.example/debian-archive bookworm main\n"
        "deb-src http://source.example/debian-archive trixie main\n"
        "deb [arch=amd64 signed-by=/k.gpg]  http://archive.example/debian-archive/  trixie  contrib main # the archive\n"
    )
    assert mirror.find(etc(tmp_path, sources_list=text)) == "http://archive.example/debian-archive/"


def test_repositories_of_others_with_suites_of_the_same_names_come_last(tmp_path: Path) -> None:
    text = "deb http://tool.example/apt stable main\ndeb http://archive.example/debian-archive bookworm main\n"
    assert mirror.find(etc(tmp_path, a_list=text)) == "http://archive.example/debian-archive"


def test_what_is_disabled_does_not_count(tmp_path: Path) -> None:
    files = {
        "a_sources": DEBIAN_12.replace("URIs", "Enabled: no\nURIs").replace("archive.", "off."),
        "b_sources": CLOUD,
    }
    assert mirror.find(etc(tmp_path, **files)).startswith("mirror+file:")


@pytest.mark.parametrize("files", [{"ubuntu_sources": UBUNTU}, {}])
def test_where_there_is_none_the_option_is_named(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(ToolError, match=r"names no Debian archive; give .* edgeds devices setup --mirror URL$"):
        mirror.find(etc(tmp_path, **files))
