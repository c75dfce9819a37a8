"""Models from a user's own Python: `path/to/file.py:factory` and `package.module:factory`."""

from __future__ import annotations

import copy
import difflib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from edgeds.errors import ModelError
from edgeds.models.weights import one_line
from edgeds.spec import Model

if TYPE_CHECKING:
    from torch import nn


PREFIX = "edgeds_user_"  # of the name that a user's file is imported as


def make(ref: str, seed: int) -> nn.Module | Model:
    """What `FILE.py:NAME` or `PACKAGE.MODULE:NAME` is or makes: NAME is a factory, an nn.Module class, or an instance.

    Random weights come from `seed`. The file's folder (or the current one) is importable meanwhile and no longer.
    Raises ModelError where anything on the way fails.
    """
    from edgeds.models.blocks import seeded

    where, _, name = ref.rpartition(":")
    is_file = where.endswith(".py")
    folder = Path(where).resolve().parent if is_file else Path.cwd()
    with _importable(folder, forget=is_file), seeded(seed):
        module = _import_file(Path(where)) if is_file else _import_package(where, folder)
        home = Path(module.__file__).parent if module.__file__ else folder
        return _call(_attribute(module, name, where), name, where, home)


@contextmanager
def _importable(folder: Path, *, forget: bool) -> Iterator[None]:
    """Put `folder` first on sys.path; with `forget`, drop what was imported from it, as the next file's siblings may
    have the same names."""
    path, before = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - before if forget else ():
            if not name.startswith(PREFIX) and _is_under(getattr(sys.modules[name], "__file__", None), folder):
                del sys.modules[name]


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ModelError(f"cannot load a model from {str(path)!r}: no such file; give path/to/file.py:factory")
    name = f"{PREFIX}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise ModelError(f"cannot load a model from {str(path)!r}: not a Python file; give path/to/file.py:factory")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as e:
        sys.modules.pop(name, None)
        raise ModelError(f"cannot import {str(path)!r}: {_reason(e, path.resolve().parent)}") from e
    return module


def _import_package(dotted: str, folder: Path) -> ModuleType:
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError as e:
        if e.name and (dotted == e.name or dotted.startswith(e.name + ".")):
            raise ModelError(
                f"no Python module {e.name!r} for the model {dotted!r}; install it, start edgeds in the folder that "
                "holds it, or give path/to/file.py:factory"
            ) from e
        raise ModelError(f"cannot import {dotted!r}: {_reason(e, folder)}") from e
    except (Exception, SystemExit) as e:
        raise ModelError(f"cannot import {dotted!r}: {_reason(e, folder)}") from e


def _attribute(module: ModuleType, name: str, where: str) -> object:
    if hasattr(module, name):
        found: object = getattr(module, name)
        return found
    own = [n for n, v in vars(module).items() if not n.startswith("_") and _is_candidate(v, module)]
    close = difflib.get_close_matches(name, own, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ModelError(f"{where!r} has no {name!r}; {hint}choose from {', '.join(sorted(own)) or '(it defines nothing)'}")


def _is_candidate(value: object, module: ModuleType) -> bool:
    """Whether a user could mean it: a module, or a function or module class that this file defines and that needs no arguments."""
    from torch import nn

    if isinstance(value, nn.Module):
        return True
    own = callable(value) and getattr(value, "__module__", "") == module.__name__
    return own and (not isinstance(value, type) or issubclass(value, nn.Module)) and not _required(value)


def _call(target: object, name: str, where: str, folder: Path) -> nn.Module | Model:
    from torch import nn

    if isinstance(target, nn.Module):
        return copy.deepcopy(target)  # it will be set to eval, and belongs to its package
    if isinstance(target, Model):
        return target
    if not callable(target):
        raise ModelError(
            f"{name!r} in {where!r} is a {type(target).__name__}; give a factory, an nn.Module class, or one"
        )
    if needed := _required(target):
        raise ModelError(
            f"{name!r} in {where!r} needs arguments ({', '.join(needed)}); name a function that needs none"
        )
    try:
        made: object = target()
    except (Exception, SystemExit) as e:
        raise ModelError(f"{name!r} in {where!r} failed: {_reason(e, folder)}") from e
    if not isinstance(made, nn.Module | Model):
        raise ModelError(
            f"{name!r} in {where!r} returned a {type(made).__name__}; return an nn.Module or an edgeds Model"
        )
    return made


def _required(target: object) -> list[str]:
    """The arguments that a call must give."""
    if not callable(target):
        return []
    try:
        parameters = inspect.signature(target).parameters.values()
    except ValueError:  # builtins have no signature; the call will tell
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind not in variadic]


def _reason(error: BaseException, folder: Path) -> str:
    """'net.py line 3: ValueError: …': the innermost line below `folder`, else the innermost line."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{os.path.basename(error.filename)} line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((f for f in reversed(frames) if _is_under(f.filename, folder)), frames[-1])
    return f"{os.path.basename(frame.filename)} line {frame.lineno}: {one_line(error)}"


def _is_under(file: str | None, folder: Path) -> bool:
    return bool(file) and Path(str(file)).is_relative_to(folder)
