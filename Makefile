# Everything runs in .venv, which is made on first use from the pinned requirements.txt.
PYTHON ?= python3.11
PARAMS ?= stored
PORT ?= 8000
JOBS ?= 2
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
# A file of tests stays in one process, whose fixtures its tests share.
PYTEST := $(RUN) -m pytest -n $(JOBS) --dist loadfile --durations 15

.DEFAULT_GOAL := help
.PHONY: help install book test quick check serve clean distclean

help:
	@echo "make install            install everything into $(VENV), as the others do where it is missing"
	@echo "make book               execute what has changed, $(JOBS) chapters at a time, and build the site in _build/html"
	@echo "make book PARAMS=quick  the same, and of the experiments train two rows at a small size instead of showing what is kept"
	@echo "make book PARAMS=full   the same with the parameters in params/full: an hour and a half on two cores; after an interruption it goes on"
	@echo "make serve              show the site on http://127.0.0.1:$(PORT)"
	@echo "make test               run all tests, about a quarter of an hour on two cores (JOBS=$(JOBS) processes)"
	@echo "make quick              run the tests that are not marked slow, about one minute"
	@echo "make check              format, lint, types and tests"
	@echo "make clean              delete _build and the tools' caches (trained ensembles stay in the user's cache)"
	@echo "make distclean          the same, and .venv"
	@echo "One chapter with other parameters: $(VENV)/bin/fpt book --chapter NAME --set key=value"

install: $(INSTALLED)

book: $(INSTALLED)
	@$(VENV)/bin/fpt book --params $(PARAMS) --jobs $(JOBS)

test: $(INSTALLED)
	@$(PYTEST)

quick: $(INSTALLED)
	@$(PYTEST) -m "not slow"

check: $(INSTALLED)
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(PYTEST)

serve: $(INSTALLED)
	@test -f _build/html/index.html || { echo "there is no site yet: make book" >&2; exit 2; }
	@echo "http://127.0.0.1:$(PORT) (stop with Ctrl-C)"
	@$(RUN) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

clean:
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find fptlib companion tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) *.egg-info companion/*.egg-info

$(INSTALLED): requirements.txt pyproject.toml companion/pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11, or name one: make PYTHON=..." >&2; exit 2; }
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@echo "installing requirements.txt into $(VENV); PyTorch alone is several hundred megabytes, so this takes minutes ..."
	@$(RUN) -m pip install -q --disable-pip-version-check -r requirements.txt
	@$(RUN) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . -e companion
	@touch $@
	@echo "installed"
