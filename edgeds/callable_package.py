"""`edgeds.export` and `edgeds.quantize` are packages, and functions too: `edgeds.export(...)` calls the pipeline's.

The import system puts a package into its parent's attribute of that name, so that a function of the same name would be
lost as soon as anything imports a module of the package. A package whose class can be called is both.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class CallablePackage(ModuleType):
    """A package that passes a call on to the function of its own name in edgeds.pipeline."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        pipeline = importlib.import_module("edgeds.pipeline")
        return getattr(pipeline, self.__name__.rpartition(".")[2])(*args, **kwargs)


def make_callable(name: str) -> None:
    """Lets the package `name` be called."""
    sys.modules[name].__class__ = CallablePackage
