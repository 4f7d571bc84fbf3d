# Everything a newcomer or CI needs. Each target sets up what it needs in .venv, once.
PYTHON ?= python3
BIN := .venv/bin
CODE := DeepFeatureLandmarks Testing
TORCH := $(shell sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)

.DEFAULT_GOAL := help
.PHONY: help demo app test bench screenshots lint format pictures clean
.DELETE_ON_ERROR:

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: .venv/has-pictures ## Make a head, deform it, place its landmarks: numbers and a picture in demo-output/
	$(BIN)/deepfeatures demo

app: .venv/has-web ## Open the page on which landmarks are placed and reviewed
	$(BIN)/deepfeatures app

test: lint .venv/has-libraries .venv/has-chromium ## Lint, check the format and run every test
	$(BIN)/python -m pytest

screenshots: .venv/has-dev .venv/has-libraries ## Draw Resources/Screenshots from made heads; not pictures of Slicer
	$(BIN)/python Testing/Slicer/screenshots.py Resources/Screenshots

bench: .venv/has-evaluation ## Measure greedy search: modes, precisions, SyN, growth; needs the development volumes
	$(BIN)/python Testing/Benchmarks/greedy.py --output benchmark-output

pictures: .venv/has-dev .venv/has-chromium ## Draw the README's pictures of the page anew
	$(BIN)/python Testing/Web/pictures.py Resources

lint: .venv/has-dev ## Lint and check the format
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

format: .venv/has-dev ## Repair what lint can repair
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

clean: ## Remove the environment and what targets wrote
	rm -rf .venv build dist demo-output benchmark-output test-output .pytest_cache .ruff_cache

# Qt and VTK need a few shared libraries that a bare machine lacks.
.venv/has-libraries: Testing/system_libraries.sh .venv/has-torch
	Testing/system_libraries.sh
	@touch $@

# torch first and alone: resolved together with the rest, pip may look at other builds of several GB.
.venv/has-torch: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet $(TORCH)
	@touch $@

# One rule for every extra of pyproject.toml; the stamp keeps a second call from installing again.
.venv/has-%: .venv/has-torch
	$(BIN)/pip install --quiet --editable '.[$*]'
	@touch $@

# The page is tested in Debian's Chromium. Without it, and without the right to install it, those tests skip, saying so.
.venv/has-chromium: .venv/has-torch
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
		(apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium libegl1 >/dev/null) || true
	@touch $@
