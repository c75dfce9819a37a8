"""The package as it is built and installed, and that what README and Makefile promise exists."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import edgeds

ROOT = Path(__file__).resolve().parents[1]
LINKS = {"export": "../export", "quantize": "../quantize"}


def configuration() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def package_folders() -> dict[str, Path]:
    """Every folder with an __init__.py, by the name that it is imported as; the links are not followed."""
    roots = {"edgeds": ROOT / "edgeds"} | {f"edgeds.{name}": ROOT / name for name in LINKS}
    found = {}
    for name, root in roots.items():
        for folder, subfolders, files in os.walk(root):
            subfolders[:] = [s for s in subfolders if not Path(folder, s).is_symlink() and s != "__pycache__"]
            if "__init__.py" in files:
                below = Path(folder).relative_to(root).parts
                found[".".join((name, *below))] = Path(folder)
    return found


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from a copy, so that nothing is left in the checkout, and nothing stale from there gets in."""
    copy = tmp_path_factory.mktemp("wheel")
    for name in ("edgeds", *LINKS):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('dist'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(copy / "dist" / done.stdout.splitlines()[-1])


def test_every_package_is_listed_and_mapped() -> None:
    settings = configuration()["tool"]["setuptools"]
    assert set(settings["packages"]) == set(package_folders())
    mapped = settings["package-dir"]
    for name, folder in package_folders().items():
        parents = [mapped[p] + name[len(p) :].replace(".", "/") for p in mapped if f"{name}.".startswith(f"{p}.")]
        assert ROOT / (parents[0] if parents else name.replace(".", "/")) == folder


def test_every_module_of_every_package_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    expected = {
        f"{name.replace('.', '/')}/{file.relative_to(folder).as_posix()}"
        for name, folder in package_folders().items()
        for file in (*folder.iterdir(), *folder.glob("*/*.toml"))
        if file.suffix in (".py", ".j2", ".typed", ".toml", ".c", ".cpp")
    }
    named = {"edgeds/export/onnx.py", "edgeds/quantize/pt2e.py", "edgeds/report/bundle.html.j2", "edgeds/py.typed"}
    assert named < expected
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == expected  # nothing else either: no top-level `export`, no tests


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    name = f"edgeds-{edgeds.__version__}.dist-info"
    assert "edgeds = edgeds.__main__:main" in wheel.read(f"{name}/entry_points.txt").decode()
    metadata = wheel.read(f"{name}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata and "Requires-Python: >=3.11" in metadata
    assert f"{name}/licenses/LICENSE" in wheel.namelist()


def test_the_version_is_the_same_everywhere() -> None:
    assert configuration()["project"]["version"] == edgeds.__version__


def test_a_users_script_type_checks_against_the_wheel(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    script = """
import edgeds
import edgeds.export.onnx

model = edgeds.load_model("ds_cnn", weights=None)
quantized = edgeds.quantize(model, "photos/", recipe="w8c-a8t-minmax")
bundle = edgeds.export(quantized, "out", formats=["onnx"], force=True)
report = edgeds.validate(bundle, "more/")
reveal_type(quantized)
reveal_type(report.drift[0].sqnr_db)
edgeds.quantize(model, recipe=8)
"""
    wheel.extractall(tmp_path / "installed")
    (tmp_path / "script.py").write_text(script)
    # a user's mypy would read all of torch, which takes a minute and shows nothing here
    (tmp_path / "mypy.ini").write_text("[mypy]\nfollow_imports = silent\n[mypy-torch.*]\nfollow_imports = skip\n")
    command = [sys.executable, "-m", "mypy", "--strict", "script.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "MYPYPATH": "installed"}, capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("script.py")]
    assert [line.split(": ", 1)[1] for line in lines] == [
        'note: Revealed type is "edgeds.spec.QuantizedModel"',
        'note: Revealed type is "float"',
        'error: Argument "recipe" to "quantize" has incompatible type "int"; expected "Recipe | str"  [arg-type]',
    ]


@pytest.mark.parametrize("name", LINKS)
def test_the_links_for_the_checkers_are_relative_and_lead_to_the_package(name: str) -> None:
    link = ROOT / "edgeds" / name
    assert link.is_symlink() and os.readlink(link) == LINKS[name]
    assert link.resolve() == ROOT / name


@pytest.mark.parametrize("target", ["demo", "test", "lint", "bench"])
def test_make_knows_the_target(target: str) -> None:
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_ci_runs_what_make_offers() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert "make lint" in text and "make test" in text
