# Every target starts with `venv`, which is quick when the environment is there.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DEMO := runs/demo

.PHONY: help venv demo test check format bench
help:
	@echo "make demo    compress a small network for the Jetson TX2, on data that pip carries"
	@echo "make test    run the tests"
	@echo "make check   formatting, lint and types"
	@echo "make bench   the measurements behind the README (needs the data described in benchmarks/README.md)"

venv: $(STAMP)

# Debian's Python may lack ensurepip; pip can then install itself into the new environment.
$(STAMP): pyproject.toml constraints.txt tools/install_system_packages.sh
	$(PYTHON) -m venv .venv 2>/dev/null || ( $(PYTHON) -m venv --without-pip .venv \
	  && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip )
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[tvm,dev]'
	# An oracle of the tests; its own requirement of torchvision is for parts they do not touch.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps torchdistill==1.1.5
	sh tools/install_system_packages.sh
	touch $(STAMP)

demo: venv
	rm -rf $(DEMO)
	$(BIN)/python examples/digits/teacher.py $(DEMO)
	$(BIN)/edgekd compress $(DEMO)/teacher.pt2 --data $(DEMO)/digits.npz --target jetson-tx2 \
	  --max-size 40KB --epochs 20 --augment crop --baseline --run $(DEMO)/run

test: venv
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: venv
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: venv
	$(BIN)/python benchmarks/slicing.py
	$(BIN)/python benchmarks/onnx_export.py
	$(BIN)/python benchmarks/population.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/resnet56_cifar10.py
