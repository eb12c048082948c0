# On a fresh Debian machine with Rust and root (or sudo), `make demo` and `make test` install what
# they need and do everything else themselves.

# What the tests build once and use again: images, trees, a registry's contents, cargo-deny.
export POSTROJ_TEST_CACHE ?= /var/cache/postroj-tests

# How many tests at once: much of what they take is waiting, for a service to settle, say.
export RUST_TEST_THREADS ?= $(shell echo $$(( $$(nproc) * 3 / 2 )))

CARGO ?= cargo
PREFIX ?= /usr/local
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
TOOLS := $(POSTROJ_TEST_CACHE)/tools
CARGO_DENY := $(or $(shell command -v cargo-deny),$(TOOLS)/bin/cargo-deny)

BUILD_PACKAGES := gcc libc6-dev
RUN_PACKAGES := systemd-container mmdebstrap dbus ca-certificates passt e2fsprogs
TEST_PACKAGES := docker-registry openssl skopeo strace e2fsprogs xfsprogs attr time umoci \
	dnf zypper pacman-package-manager makepkg rpm createrepo-c libarchive-tools gnupg iproute2 \
	libxml2-utils perl chromium python3 python3-jsonschema busybox-static
FUZZ_PACKAGES := g++
VM_PACKAGES := qemu-system-x86 mmdebstrap e2fsprogs
BENCH_PACKAGES := python3 python3-venv curl podman runc skopeo time umoci

# The tests have to be root; cargo, which builds them, need not be.
comma := ,
as_root := $(if $(SUDO),--config 'target."cfg(all())".runner = ["sudo"$(comma) "-E"]')

# What cargo-fuzz passes, but for a sanitizer, which stable Rust does not have.
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions
FUZZ_SECONDS ?= 10

.PHONY: help build release install demo test test-full test-vm fuzz lint deny bench packages clean

help:
	@echo 'make demo     install what is needed, build, and test one real package on Debian 12'
	@echo 'make test     install what is needed, run the lints and every test'
	@echo 'make test-full  every package of the corpus on every release, three times over, and 200 cycles in a row'
	@echo 'make test-vm  in a virtual machine: version 2 control groups alone, AppArmor; a part of test-full'
	@echo 'make build    build the binary for development (release: for use)'
	@echo 'make install  put the release binary into $$PREFIX/bin ($(PREFIX))'
	@echo 'make fuzz     feed the readers of foreign bytes with nonsense, for a few seconds each'
	@echo 'make lint     formatting, clippy, docs, licences of the dependencies'
	@echo 'make bench    a run and a pull beside what one would use instead'

# $(call need,PACKAGES): installs those that are missing, and asks the mirror only then.
define need
@missing=; for package in $(1); do \
	dpkg-query -W -f='$${db:Status-Status}\n' $$package 2>/dev/null | grep -qx installed || missing="$$missing $$package"; \
done; \
if [ -n "$$missing" ]; then \
	command -v apt-get >/dev/null || { echo "install what Debian calls:$$missing" >&2; exit 1; }; \
	echo "installing$$missing"; \
	$(SUDO) apt-get -qq update && \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $$missing </dev/null; \
fi
endef

packages:
	$(call need,$(BUILD_PACKAGES) $(RUN_PACKAGES) $(TEST_PACKAGES))

build:
	$(call need,$(BUILD_PACKAGES))
	$(CARGO) build --locked

release:
	$(call need,$(BUILD_PACKAGES))
	$(CARGO) build --locked --release

install: release
	$(SUDO) install -D -m 0755 target/release/postroj $(DESTDIR)$(PREFIX)/bin/postroj

# An unoptimised build: the verdict is there sooner than an optimised one is built.
demo: build
	$(call need,$(RUN_PACKAGES))
	@url=$$(apt-get download --print-uris webfs 2>/dev/null | sed -n "s/^'\([^']*\)'.*/\1/p"); \
	if [ -z "$$url" ]; then \
		$(SUDO) apt-get -qq update; \
		url=$$(apt-get download --print-uris webfs | sed -n "s/^'\([^']*\)'.*/\1/p"); \
	fi; \
	set -x; \
	$(SUDO) target/debug/postroj pkgprobe --image debian-bookworm --package "$$url" \
		--check-unit webfs --check-network http://localhost:8000

test: packages lint fuzz
	$(CARGO) test --locked $(as_root)

# Its table goes into the README.
test-full: packages test-vm
	$(CARGO) test --locked --test soak $(as_root) -- --cycles 200
	$(CARGO) test --locked --test corpus $(as_root) -- --full --runs 3 --rst $(CURDIR)/target/corpus.rst

# Minutes, where the processor is emulated.
test-vm: build
	$(call need,$(RUN_PACKAGES) $(VM_PACKAGES))
	$(SUDO) env POSTROJ_TEST_CACHE="$(POSTROJ_TEST_CACHE)" tests/vm/run target/debug/postroj

# The inputs that a run finds are thrown away: what is worth keeping is put below fuzz/corpus by hand.
fuzz:
	$(call need,$(BUILD_PACKAGES) $(FUZZ_PACKAGES))
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/fuzz/instrument FUZZ_FLAGS="$(FUZZ_FLAGS)" \
		$(CARGO) build --locked --package postroj-fuzz
	@found=$$(mktemp -d); trap 'rm -rf "$$found"' EXIT; running= failed=; \
	for target in layer manifest reference; do \
		echo "fuzzing the $$target reader for $(FUZZ_SECONDS) s"; mkdir "$$found/$$target"; \
		$(SUDO) target/debug/$$target -verbosity=0 -print_final_stats=1 -max_total_time=$(FUZZ_SECONDS) \
			-timeout=10 -rss_limit_mb=1024 -artifact_prefix=fuzz/ \
			"$$found/$$target" fuzz/corpus/$$target >"$$found/$$target.log" 2>&1 & \
		running="$$running $$!:$$target"; \
	done; \
	for each in $$running; do \
		target=$${each#*:}; log="$$found/$$target.log"; \
		wait $${each%:*} || { cat "$$log"; echo "the $$target reader has failed" >&2; failed=yes; continue; }; \
		echo "the $$target reader: $$(sed -n 's/^stat::number_of_executed_units: *//p' "$$log") inputs"; \
	done; \
	test -z "$$failed"

lint: deny
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --locked --no-deps

# The advisory database is fetched from a forge: `cargo deny check advisories` where one is reached.
deny: $(CARGO_DENY)
	$(CARGO) fetch --locked
	$(CARGO_DENY) --offline check bans licenses sources

# An unoptimised one is there in a third of the time, and as quick where it is asked once.
$(TOOLS)/bin/cargo-deny:
	$(call need,$(BUILD_PACKAGES))
	$(SUDO) mkdir -p $(TOOLS)
	$(SUDO) env PATH="$$PATH" CARGO_HOME="$${CARGO_HOME:-$$HOME/.cargo}" CARGO_PROFILE_DEV_DEBUG=0 \
		$(CARGO) install --debug --locked --quiet --root $(TOOLS) cargo-deny

bench:
	$(call need,$(BUILD_PACKAGES) $(RUN_PACKAGES) $(TEST_PACKAGES) $(BENCH_PACKAGES))
	$(CARGO) bench --locked --bench cycle --bench matrix --bench install --bench run --bench pull $(as_root)

clean:
	$(CARGO) clean
