# The same things as ./quickstart.sh and sage-dev offer, as targets. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help setup demo test fast quality fix docs doctor constraints clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## set up for development in .venv
	./quickstart.sh --dev --yes

demo:  ## set up, index this project's documentation, answer questions about it
	./quickstart.sh demo

test:  ## set up for development and run all tests
	./quickstart.sh test

fast: setup  ## run the tests that take no more than moments
	.venv/bin/sage-dev test --fast

quality: setup  ## format, lint, types, architecture
	.venv/bin/sage-dev quality

fix: setup  ## the same, mending what can be mended
	.venv/bin/sage-dev quality --fix

docs: setup  ## build the documentation into site/
	.venv/bin/sage-dev docs

doctor:  ## say what is there and what is missing
	./quickstart.sh --doctor

constraints: setup  ## pin the third-party versions in constraints.txt anew
	.venv/bin/python tools/constraints.py

clean:  ## remove what builds and checks leave behind; .venv stays
	rm -rf site build dist packages/*/dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
