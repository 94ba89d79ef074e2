# The house's commands; `make` alone lists them. Each sets up what it needs, inside the tree, and a second call is quick.
#
# From outside come only: Rust (cargo, clippy, rustfmt), Python 3.10 or later with venv, a C compiler, make.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
CARGO ?= cargo
FUZZ_SECONDS ?= 60
BENCH_ARGS ?=
CROWD_ARGS ?=
RIVALS_ARGS ?=
SIM_ARGS ?=
SOAK_ARGS ?=
TEST_ARGS ?=

VENV := .venv
VENV_PYGAME := .venv-pygame
EXTENSION := python/netplay/_core.abi3.so
RUST_SOURCES := $(shell find crates -name target -prune -o -path '*/fuzz/*' -prune -o \
	\( -path '*/src/*' -name '*.rs' -o -name Cargo.toml \) -print)
FUZZ_TARGETS := $(patsubst crates/proto/fuzz/fuzz_targets/%.rs,%,$(wildcard crates/proto/fuzz/fuzz_targets/*.rs))
CARGO_FUZZ_VERSION := 0.13.2
# Most tests wait for a network most of the time, so more files run at once than there are cores.
PYTEST_ARGS := -rs --timeout=120 -n 3 --dist loadfile
# What never sees pygame need not be tested against both.
PYGAME_TESTS := tests/games $(shell grep -l pygame tests/python/test_*.py)
export PYGAME_HIDE_SUPPORT_PROMPT := 1

.PHONY: help demo dist test test-rust test-python test-pygame check check-rust check-python fix bench bench-raw crowd rivals soak \
	sim golden fuzz corpus nat pictures lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(EXTENSION) ## two programs find each other; comets with bots, a bad network and the net graph; without a display: printed, and a picture
	$(VENV)/bin/python -m netplay.examples.demo

test: test-rust test-python test-pygame ## every test: Rust, Python, the games; against pygame-ce, and what sees pygame against pygame

test-rust: ## the tests in Rust, with the fuzz corpora
	$(CARGO) test --workspace --locked --quiet $(TEST_ARGS)

test-python: $(EXTENSION) ## the tests in Python, against pygame-ce
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS) tests

test-pygame: $(EXTENSION) $(VENV_PYGAME)/.installed ## those of them that see pygame, against pygame
	$(VENV_PYGAME)/bin/python -m pytest $(PYTEST_ARGS) $(PYGAME_TESTS)

check: check-rust check-python ## format, lints, types, docs and stubs: changes nothing

check-rust:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path crates/proto/fuzz/Cargo.toml --check
	$(CARGO) fmt --manifest-path bench/rivals/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets --locked --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet

check-python: $(EXTENSION)
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy python/netplay tests bench
	$(VENV)/bin/stubtest --mypy-config-file pyproject.toml netplay._core

fix: $(VENV)/.installed ## formats everything, and mends what the lints can mend
	$(CARGO) clippy --workspace --all-targets --locked --fix --allow-dirty --allow-staged
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path crates/proto/fuzz/Cargo.toml
	$(CARGO) fmt --manifest-path bench/rivals/Cargo.toml
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

bench: dist $(VENV)/.installed-bench ## netplay, pyenet, TCP and a plain socket, side by side; BENCH_ARGS="--only '500*'" for a part
	$(VENV)/bin/python bench/run.py $(BENCH_ARGS)

bench-raw: dist $(VENV)/.installed-bench ## every transport beside its like: pyenet, asyncio, a plain socket, websockets
	$(VENV)/bin/python bench/raw.py --write

crowd: dist ## a thousand players in the game meadow, into docs/benchmarks.md; CROWD_ARGS="--clients 300" only prints
	$(VENV)/bin/python bench/meadow.py $(or $(CROWD_ARGS),--write)

rivals: ## netplay, ENet, renet, QUIC and, as root, TCP on bad networks: docs/rivals.md; RIVALS_ARGS=--quick only prints
	$(CARGO) run --locked --release --quiet --manifest-path bench/rivals/Cargo.toml -- $(RIVALS_ARGS)

soak: dist ## half an hour of 500 clients, with a graph of the memory; SOAK_ARGS="--help" tells more
	$(VENV)/bin/python bench/soak.py $(SOAK_ARGS)

sim: ## two endpoints on a bad network in virtual time; SIM_ARGS="--help" tells more
	$(CARGO) run --locked --release --quiet -p netplay-proto --example sim -- $(SIM_ARGS)

fuzz: .tools/bin/cargo-fuzz ## every fuzz target, FUZZ_SECONDS each (60)
	cd crates/proto && for target in $(FUZZ_TARGETS); do \
		echo "fuzzing $$target for $(FUZZ_SECONDS) s"; \
		mkdir -p fuzz/target/corpus/$$target; \
		RUSTC_BOOTSTRAP=1 $(CURDIR)/.tools/bin/cargo-fuzz run $$target fuzz/target/corpus/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=65536 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1; \
	done

golden: ## writes the tables of what the protocol does on bad networks anew, to be read in review
	NETPLAY_WRITE_GOLDEN=1 $(CARGO) test --locked --quiet -p netplay-proto --test tables as_they_were

corpus: ## makes the seeds of the fuzz corpora anew
	$(CARGO) test --locked -p netplay-proto --test corpus -- --ignored write_the_seeds

pictures: $(EXTENSION) $(VENV)/.installed-pictures ## makes the pictures of the README anew
	$(VENV)/bin/python docs/pictures.py
	$(VENV)/bin/python -m netplay.examples.chats --headless --picture docs/chats.png
	$(VENV)/bin/python -m netplay.examples.lines --headless --autoplay --seed 7 --bots 2 --ticks 47 --picture docs/lines.png
	$(VENV)/bin/python -m netplay.examples.meadow --headless --autoplay --seed 7 --bots 150 --seconds 12 --picture docs/meadow.png

lock: $(VENV)/.installed ## pins the newest versions of the tools in requirements/*.txt
	for name in dev pygame bench pictures; do \
		$(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.10 --generate-hashes \
			--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
			requirements/$$name.in -o requirements/$$name.txt; \
	done

nat: $(EXTENSION) ## two homes behind every pair of routers, as root: the table of docs/p2p.md
	NETPLAY_WRITE_NAT=1 $(VENV)/bin/python -m pytest $(PYTEST_ARGS) -n 0 tests/python/test_nat.py

clean: ## removes everything that these commands made
	rm -rf $(VENV) $(VENV_PYGAME) .tools out target bench/rivals/target crates/proto/fuzz/target crates/proto/fuzz/artifacts
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis python/netplay/_core.*.so
	find python tests -name __pycache__ -type d -prune -exec rm -rf {} +

# What the commands need, each named by the file that proves it is there.

define venv
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or later is needed: make PYTHON=...")'
test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
endef

$(VENV)/.installed: requirements/dev.txt
	$(call venv,$(VENV))
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	touch $@

$(VENV)/.installed-bench: requirements/bench.txt $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	touch $@

$(VENV)/.installed-pictures: requirements/pictures.txt $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/pictures.txt
	touch $@

# pygame and pygame-ce are one import name. The second environment finds the same package, with the same built extension.
$(VENV_PYGAME)/.installed: requirements/pygame.txt
	$(call venv,$(VENV_PYGAME))
	$(VENV_PYGAME)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/pygame.txt
	echo '$(CURDIR)/python' > "$$($(VENV_PYGAME)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/netplay.pth"
	touch $@

# Built anew only when Rust sources or the environment changed; changed Python files are seen at once.
$(EXTENSION): $(RUST_SOURCES) Cargo.toml Cargo.lock pyproject.toml $(VENV)/.installed
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(VENV)/bin/maturin develop --locked --quiet
	touch $@

# What is measured is what the wheels hold. It takes the place of the other until a source changes.
dist: $(VENV)/.installed
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(VENV)/bin/maturin develop --profile dist --locked --quiet
	touch $(EXTENSION)

.tools/bin/cargo-fuzz:
	$(CARGO) install --root .tools --locked --version $(CARGO_FUZZ_VERSION) cargo-fuzz
