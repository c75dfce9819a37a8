"""How the tests start `edgeds` as a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path


def command(*arguments: str | Path, before: str = "") -> list[str]:
    """`python -m edgeds …`; `before` is Python code that its process runs first.

    Popen's preexec_fn would fork this process instead of starting a new one, and where another test has imported JAX that is a warning.
    """
    module = ["-m", "edgeds"]
    if before:
        code = f"import os, sys\n{before}\nos.execv(sys.executable, [sys.executable, '-m', 'edgeds', *sys.argv[1:]])"
        module = ["-c", code]
    return [sys.executable, *module, *map(str, arguments)]
