# Each command sets up all it needs first; doing so again costs a second.

.DEFAULT_GOAL := help
.PHONY: help demo wordcount edges test lint bench figures tables wheel install-package python-demo deny clean

# Where cargo builds.
target := $(or $(CARGO_TARGET_DIR),target)
binaries := -p framelane-server -p framelane-worker -p framelane-bench

# A build server throws its target folder away: what makes the next build fast only makes this one slow.
ifdef CI
export CARGO_INCREMENTAL := 0
endif

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST)

demo: ## a test camera, the server and one worker; prints the page to open; Ctrl-C ends it
	@scripts/setup demo
	@cargo build --release --locked $(binaries)
	@exec $(target)/release/framelane-bench demo

wordcount: ## a task of one's own: words to two worker processes over QUIC, counters back; ARGS are handed on
	@scripts/setup wordcount
	@cargo run --release --locked -p wordcount -- $(ARGS)

edges: ## the same with pictures and OpenCV, order kept; ARGS are handed on
	@scripts/setup edges
	@cargo run --release --locked -p edges -- $(ARGS)

test: ## everything that must hold
	@scripts/setup test
	@$(MAKE) --no-print-directory lint
	@# The binaries first: tests start them, those of other crates too.
	cargo build --workspace --locked --bins --tests --examples
	@$(MAKE) --no-print-directory install-package
	cargo test --workspace --locked

# Rust's minimal profile has neither; the build server's has both.
lint:
	@if cargo fmt --version >/dev/null 2>&1; then cargo fmt --all --check; \
	else echo "NOT CHECKED: formatting (rustup component add rustfmt)"; fi
	@if cargo clippy --version >/dev/null 2>&1; then cargo clippy --workspace --all-targets --locked -- -D warnings; \
	else echo "NOT CHECKED: clippy (rustup component add clippy)"; fi

# All of them without further ado; with arguments, which fit one only, that of the whole server.
BENCH ?= $(if $(BENCH_ARGS),fps,fps dispatch scale wordcount lanes python chaos)
bench_json = $(if $(findstring --json,$(BENCH_ARGS)),,--json $(target)/bench/$$name.json)

bench: ## the measurements and their table; BENCH="scale chaos" chooses, BENCH_ARGS are handed on
	@scripts/setup bench
	@cargo build --release --locked $(binaries) -p framelane-dispatch
	@$(if $(filter python,$(BENCH)),$(MAKE) --no-print-directory install-package PROFILE=release)
	@mkdir -p $(target)/bench && rm -f $(BENCH:%=$(target)/bench/%.json)
	@# One that fails has figures too, and the others are measured all the same.
	@failed=; for name in $(BENCH); do \
		$(target)/release/framelane-bench $$name $(bench_json) $(BENCH_ARGS) || failed="$$failed $$name"; \
	done; \
	$(if $(bench_json),$(target)/release/framelane-bench table $(BENCH:%=$(target)/bench/%.json) &&) \
	if [ -n "$$failed" ]; then echo "failed:$$failed" >&2; exit 1; fi
	@$(if $(bench_json),echo "The figures are in $(target)/bench; \`make tables\` puts them into README.md and docs.")

figures: ## the measurements, and their figures and tables into README.md and docs
	@$(MAKE) --no-print-directory bench
	@$(MAKE) --no-print-directory tables

tables: ## what was measured last into docs/figures, README.md and docs/benchmarks.md
	@mkdir -p docs/figures
	cp $(BENCH:%=$(target)/bench/%.json) docs/figures
	$(target)/release/framelane-bench table --into README.md --into docs/benchmarks.md docs/figures/*.json

wheel: ## the Python package, in TARGET/python/release
	@scripts/setup wheel
	@scripts/python-package build $(abspath $(target)) release

PROFILE ?= dev
install-package: ## the Python package in an environment of its own, for the tests: TARGET/python/dev/venv
	@scripts/setup package
	@scripts/python-package build $(abspath $(target)) $(PROFILE)
	@scripts/python-package install $(abspath $(target)) $(PROFILE)

python-demo: ## words, counted by two processes of Python
	@$(MAKE) --no-print-directory install-package PROFILE=release
	@cargo build --release --locked -p wordcount
	@scripts/python-demo $(abspath $(target))

deny: ## licences and walls of all dependencies, by cargo-deny (cargo install cargo-deny --locked)
	cargo deny --locked check licenses bans sources

clean: ## everything that was built or fetched
	cargo clean
	rm -rf assets web/tests/browser/node_modules
