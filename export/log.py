"""A converter's log as it stands in a bundle: without what differs from run to run, and without paths of this machine."""

from __future__ import annotations

import re
import sys
import tempfile

# What converters put before or behind a line: (00:09), (+00:01), I0000 00:00:1795.02 5826, W1124 05:04:58.88 6190 file:12]
_TIMES = re.compile(r"\(\+?\d\d:\d\d\) ?|^[IWEF]\d{4} \d\d:\d\d:[\d.]+ +\d+ ", re.MULTILINE)
_SECONDS = re.compile(r"\b\d+(\.\d+)?\s?(ms|s|seconds)\b")
_ADDRESSES = re.compile(r"0x[0-9a-f]{6,}")


def tidy(text: str, *folders: str) -> str:
    """The log without times, memory addresses, and the folders of the work, the interpreter and its packages."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _ADDRESSES.sub("0x…", _SECONDS.sub("…", _TIMES.sub("", text)))
    for folder in folders:
        text = text.replace(folder, "work")
    for prefix in sorted({sys.prefix, sys.base_prefix, tempfile.gettempdir()}, key=len, reverse=True):
        text = text.replace(prefix, "…")
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines() if line.strip())
