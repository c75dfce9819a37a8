"""manifest.json: its bytes, and everything that makes one be refused.

Reading one builds dataclasses of edgeds.spec and nothing else: no pickle, no import, no path out of the bundle.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import unicodedata
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from edgeds.errors import BundleError, InputError
from edgeds.folders import digest_file, open_regular, shown, walk, why
from edgeds.spec import MANIFEST_SCHEMA_VERSION, DriftLimits, DriftReport, FileDigest, Manifest

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

NAME = "manifest.json"
MAX_BYTES = 64 * 2**20

_NON_FINITE = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}
# Only these may be infinite or NaN: an SQNR of identical outputs is.
_MEASURED = {
    f.name for c in (DriftReport, DriftLimits) for f in fields(c) if str(f.type).startswith(("float", "tuple[float"))
}
_SEAL = "manifest_sha256"
_RENEW = "copy the bundle again, or export it anew"


def encode(manifest: Manifest) -> bytes:
    """The bytes of manifest.json: the same for equal manifests. Its last key is the sha256 of all the others."""
    text = content(manifest)
    seal = f',\n  "{_SEAL}": "{hashlib.sha256(text).hexdigest()}"\n}}\n'
    return text.removesuffix(b"\n}") + seal.encode()


def content(manifest: Manifest) -> bytes:
    """What manifest.json says, as JSON, but for the key that seals it."""
    from pydantic_core import to_json

    ordered = replace(manifest, files=dict(sorted(manifest.files.items())))
    return to_json(ordered, indent=2, inf_nan_mode="strings")


def decode(text: bytes, where: str = NAME) -> Manifest:
    """The Manifest in `text`; raises BundleError with the first thing that is wrong with it, and `where`."""
    try:
        raw = json.loads(text.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
        _check_schema(raw, where)
        _check_artifact_paths(raw, where)
        seal = raw.pop(_SEAL, None)
        manifest = _adapter().validate_json(json.dumps([_with_non_finite(raw)]))[0]
    except UnicodeDecodeError as error:
        raise BundleError(f"{where} is not UTF-8 (byte {error.start}); {_RENEW}") from error
    except json.JSONDecodeError as error:
        raise BundleError(f"{where} is not JSON, or cut off: {error}; {_RENEW}") from error
    except RecursionError as error:
        raise BundleError(f"{where} is nested too deeply; {_RENEW}") from error
    except InputError as error:  # from a dataclass that checks itself
        raise error if isinstance(error, BundleError) else BundleError(f"{where}: {error}") from error
    except ValueError as error:
        raise BundleError(f"{where}: {_first_problem(error)}; {_RENEW}") from error
    check_names(manifest.files, where)
    _check_artifacts(manifest, where)
    if seal != hashlib.sha256(content(manifest)).hexdigest():
        raise BundleError(f"{where} was changed after it was written: its {_SEAL} is another; {_RENEW}")
    return manifest


def read_manifest(path: Path) -> Manifest:
    """The Manifest of a bundle, given its folder or its manifest.json; looks at no other file. Raises BundleError."""
    try:
        file = path / NAME if path.is_dir() else path
        return decode(_read(file), shown(file))
    except FileNotFoundError as error:
        what = f"{shown(path)} is a folder without {NAME}, so no bundle" if path.is_dir() else why(error)
        raise BundleError(f"{what}; give the folder that `edgeds export` made, its --out") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = why(error) if isinstance(error, OSError) else str(error)
        raise BundleError(f"cannot read the bundle {shown(path)}: {reason}") from error


def looks_like_a_bundle(folder: Path) -> bool:
    """Whether edgeds made `folder`, this version or another: only then may it be replaced."""
    try:
        raw = json.loads(_read(folder / NAME))
    except (OSError, ValueError, RecursionError, BundleError):
        return False
    return (
        isinstance(raw, dict) and type(raw.get("schema_version")) is int and isinstance(raw.get("edgeds_version"), str)
    )


def digest_files(folder: Path) -> dict[str, FileDigest]:
    """The digest of every file but manifest.json, sorted by name; raises BundleError for one that cannot be there."""
    found = _ordinary_files(folder)
    check_names(found, shown(folder))
    return {name: digest_file(folder / name) for name in sorted(found)}


def check_files(folder: Path, manifest: Manifest, hashes: bool) -> None:
    """Raises BundleError unless `folder` has the files of `manifest`, no others: by size, with `hashes` by sha256."""
    found = _ordinary_files(folder)
    for name in sorted(manifest.files.keys() - found.keys()):
        raise BundleError(f"{shown(folder)}: {name!r} is missing, its manifest lists it; {_RENEW}")
    for name in sorted(found.keys() - manifest.files.keys()):
        raise BundleError(f"{shown(folder)}: {name!r} is not listed in its manifest; remove it, or export anew")
    for name, listed in sorted(manifest.files.items()):
        size = found[name].stat(follow_symlinks=False).st_size
        if size != listed.size_bytes:
            raise BundleError(
                f"{shown(folder)}: {name!r} has {size} bytes, its manifest says {listed.size_bytes}; {_RENEW}"
            )
        if hashes and digest_file(folder / name) != listed:
            raise BundleError(f"{shown(folder)}: {name!r} was changed, its sha256 is not the manifest's; {_RENEW}")


def check_names(names: Iterable[str], where: str) -> None:
    """Raises BundleError for a name that is no plain relative path, and for two that are one file on a phone."""
    taken = {_folded(NAME): NAME}
    for name in sorted(names):
        if not _is_plain(name) or name == NAME:
            raise BundleError(
                f"{where}: {name!r} cannot be the name of a file in a bundle; it has to be a plain relative path inside"
            )
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):  # folders too: A/x and a/x are the same file there
            part = "/".join(parts[:depth])
            if taken.setdefault(_folded(part), part) != part:
                raise BundleError(
                    f"{where}: {part!r} and {taken[_folded(part)]!r} are one file on many phones; rename one of them"
                )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _is_plain(name: str) -> bool:
    if any(c in "\\:" or unicodedata.category(c) in ("Cc", "Cs") for c in name):
        return False  # separators and drives of Windows; control characters; bytes that are no UTF-8
    return not any(part in ("", ".", "..") for part in name.split("/"))


def _ordinary_files(folder: Path) -> dict[str, os.DirEntry[str]]:
    found = walk(folder)
    found.pop(NAME, None)
    for name, entry in sorted(found.items()):
        if entry.is_symlink():
            raise BundleError(
                f"{shown(folder)}: {name!r} is a symbolic link; a bundle holds the files themselves, put the file there"
            )
        if not entry.is_file(follow_symlinks=False):
            raise BundleError(
                f"{shown(folder)}: {name!r} is a pipe or a device; a bundle holds ordinary files only, remove it"
            )
    return found


def _read(file: Path) -> bytes:
    with open(open_regular(file), "rb") as stream:
        if os.fstat(stream.fileno()).st_size > MAX_BYTES:
            raise BundleError(
                f"{shown(file)} is larger than {MAX_BYTES // 2**20} MB, no manifest of edgeds is; {_RENEW}"
            )
        return stream.read(MAX_BYTES)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} stands there twice")
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check_schema(raw: Any, where: str) -> None:
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if type(version) is not int:
        raise BundleError(
            f"{where} has no schema_version, so it is not from edgeds; give the folder that `edgeds export` made"
        )
    if version > MANIFEST_SCHEMA_VERSION:
        raise BundleError(
            f"{where} was made by a newer edgeds (schema_version {version}, "
            f"this one knows {MANIFEST_SCHEMA_VERSION}); upgrade edgeds"
        )
    if version != MANIFEST_SCHEMA_VERSION:
        raise BundleError(f"{where} has schema_version {version}, there is only {MANIFEST_SCHEMA_VERSION}; {_RENEW}")


def _check_artifact_paths(raw: dict[str, Any], where: str) -> None:
    """Looks at the text, because a Path has already dropped `./` and `//`."""
    artifacts = raw.get("artifacts")
    for artifact in artifacts if isinstance(artifacts, list) else ():
        path = artifact.get("path") if isinstance(artifact, dict) else None
        if isinstance(path, str):
            check_names([path], where)


def _check_artifacts(manifest: Manifest, where: str) -> None:
    for artifact in manifest.artifacts:
        listed = manifest.files.get(artifact.path.as_posix())
        if listed != FileDigest(artifact.sha256, artifact.size_bytes):
            raise BundleError(
                f"{where}: {artifact.name} is {str(artifact.path)!r}, "
                f"but `files` has no such file of this size and sha256; {_RENEW}"
            )


def _with_non_finite(raw: dict[str, Any]) -> dict[str, Any]:
    """Turns the strings for infinity and NaN back into floats where they may stand; pydantic's strict mode does not."""
    drift = raw.get("drift")
    for part in [*(drift if isinstance(drift, list) else ()), raw.get("limits")]:
        if isinstance(part, dict):
            part.update({key: _number(value) for key, value in part.items() if key in _MEASURED})
    return raw


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [_number(item) for item in value]
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value


@functools.cache
def _adapter() -> TypeAdapter[tuple[Manifest]]:
    from pydantic import ConfigDict, TypeAdapter

    # pydantic takes a config for plain dataclasses only where they stand inside another type: hence the tuple
    return TypeAdapter(tuple[Manifest], config=ConfigDict(strict=True, extra="forbid"))


def _first_problem(error: ValueError) -> str:
    from pydantic import ValidationError

    return _first_invalid(error) if isinstance(error, ValidationError) else str(error)


def _first_invalid(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = shown(".".join(str(part) for part in problem["loc"][1:]))
    text = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{place}: {text}" if place else text
