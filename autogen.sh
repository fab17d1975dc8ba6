#!/bin/sh
# SPDX-License-Identifier: MIT
# Make configure and the Makefile.in files from a fresh checkout. Safe to run again at any time.
set -eu
cd "$(dirname "$0")"
mkdir -p m4
autoreconf --force --install "$@"
# configure removes old core dumps after each of its tests; here core is a folder and each such rm would complain.
# (The one place where that also did harm is cured in configure.ac.)
sed -i 's/rm -f core conftest/rm -f conftest/' configure
