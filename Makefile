# Everything a newcomer or CI needs. Each target sets up what it needs in .venv, once.
PYTHON ?= python3
BIN := .venv/bin
CODE := DeepFeatureLandmarks Testing docs
CONSTRAINTS := Testing/constraints.txt
TORCH := $(shell grep '^torch==' $(CONSTRAINTS))
TORCH_INDEX :=

.DEFAULT_GOAL := help
.PHONY: help demo app test docs bench screenshots lint format pictures clean
.DELETE_ON_ERROR:

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: .venv/has-pictures ## Make a head, deform it, place its landmarks: numbers and a picture in demo-output/
	$(BIN)/deepfeatures demo

app: .venv/has-web ## Open the page on which landmarks are placed and reviewed
	$(BIN)/deepfeatures app

test: lint .venv/has-libraries .venv/has-chromium ## Lint, check format and types, and run every test
	$(BIN)/python -m pytest

docs: .venv/has-docs ## Build the documentation into docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"

screenshots: .venv/has-dev .venv/has-libraries ## Draw Resources/Screenshots from made heads; not pictures of Slicer
	$(BIN)/python Testing/Slicer/screenshots.py Resources/Screenshots
	$(BIN)/python Testing/small_pictures.py Resources/Screenshots

bench: .venv/has-evaluation ## Measure greedy search: modes, precisions, SyN, growth; needs the development volumes
	$(BIN)/python Testing/Benchmarks/greedy.py --output benchmark-output

pictures: .venv/has-dev .venv/has-chromium ## Draw the README's pictures of the page anew
	$(BIN)/python Testing/Web/pictures.py Resources
	$(BIN)/python Testing/small_pictures.py Resources

lint: .venv/has-dev ## Lint, check the format and the types
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

format: .venv/has-dev ## Repair what lint can repair
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

clean: ## Remove the environment and what targets wrote
	rm -rf .venv build dist docs/_build demo-output benchmark-output test-output .pytest_cache .ruff_cache .mypy_cache

# Qt and VTK need a few shared libraries that a bare machine lacks.
.venv/has-libraries: Testing/system_libraries.sh .venv/has-torch
	Testing/system_libraries.sh
	@touch $@

# torch first and alone: resolved together with the rest, pip may look at other builds of several GB.
.venv/has-torch: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet $(TORCH_INDEX) $(TORCH)
	@touch $@

# One rule for every extra of pyproject.toml; the stamp keeps a second call from installing again.
.venv/has-%: .venv/has-torch
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable '.[$*]'
	@touch $@

# The page is tested in Debian's Chromium. Without it, and without the right to install it, those tests skip, saying so.
.venv/has-chromium: .venv/has-torch
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
		(apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium libegl1 >/dev/null) || true
	@touch $@
