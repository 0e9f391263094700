# Names that people expect, each calling the cargo command that does the work.

CARGO ?= cargo

.PHONY: all build final graded clean setup

# Everything that must hold, then the release binary.
all: final build

# The release binary: target/release/polylite.
build:
	$(CARGO) build --release --package polylite-cli

# Formatting, lints, documentation and every test.
final:
	$(CARGO) xtask verify

# The graded suite: what each category earns, and the points in all.
graded:
	./run_all_tests.sh

# What was built, and what the demos left behind.
clean:
	demo/cleanup.sh
	$(CARGO) clean

# The parts of the toolchain that `final` needs, and the dependencies.
setup:
	rustup component add rustfmt clippy
	$(CARGO) fetch --locked
