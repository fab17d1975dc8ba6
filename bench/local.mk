# SPDX-License-Identifier: MIT
# make bench builds and runs every program in BENCHES, one after the other.
.PHONY: bench
bench: all $(BENCHES)
	@for b in $(BENCHES); do echo "# $$b"; ./$$b || exit 1; done
