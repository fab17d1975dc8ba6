# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Sourced by ./check and ./demo: what twinfs needs from a bare Debian 12, and how it is built.
#
#	deps_install LOGFILE            install what is missing; on failure says what to do and returns 1
#	build_twinfs BUILD_DIR LOG_DIR  configure and make

# Tools and libraries to build with; libraries' -dev packages bring the libraries.
DEPS_BUILD=(autoconf automake gcc libc6-dev make pkg-config
	libfuse3-dev libcurl4-openssl-dev libnghttp2-dev libssl-dev libsqlite3-dev
	libxxhash-dev libzstd-dev libmagic-dev libjansson-dev libutf8proc-dev)
# fusermount3 at run time; the rest is what the tests and the demo use.
DEPS_RUN=(fuse3 iproute2 nftables)
DEPS_TEST=(acl check git attr python3 procps rsync util-linux)

deps_missing() {
	local p
	for p in "${DEPS_BUILD[@]}" "${DEPS_RUN[@]}" "${DEPS_TEST[@]}"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || printf '%s\n' "$p"
	done
}

deps_install() {
	local log=$1 missing
	# Elsewhere than on Debian and its kin, configure says by name what is not there.
	command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || return 0
	mapfile -t missing < <(deps_missing)
	[ ${#missing[@]} -eq 0 ] && return 0
	if [ "$(id -u)" != 0 ]; then
		echo "Packages are missing; install them as root and run this again:" >&2
		echo "    apt-get install ${missing[*]}" >&2
		return 1
	fi
	echo "Installing ${#missing[@]} packages: ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	# A failed update need not matter: the lists at hand may do.
	apt-get -q update >"$log" 2>&1 || true
	if ! apt-get -q -y --no-install-recommends install "${missing[@]}" >>"$log" 2>&1; then
		tail -n 40 "$log" >&2
		echo "apt-get could not install what is missing (above); install it and run this again." >&2
		return 1
	fi
}

# build_twinfs BUILD_DIR LOG_DIR [CONFIGURE OPTION...]: from this checkout, repeating only what is needed. Quiet; on
# failure shows the end of the log and returns 1. Run from the top of the tree.
build_twinfs() {
	local build=$1 logs=$2 top=$PWD
	shift 2
	if [ ! -x configure ] || [ configure.ac -nt configure ] || [ Makefile.am -nt Makefile.in ]; then
		_build_step autogen ./autogen.sh || return 1
	fi
	mkdir -p "$build" || return 1
	if [ ! -e "$build/config.status" ] || [ configure -nt "$build/config.status" ]; then
		_build_step configure env -C "$build" "$top/configure" --quiet "$@" || return 1
	fi
	_build_step make make -C "$build" -j"$(nproc)"
}

_build_step() {
	local log=$logs/$1.log
	shift
	"$@" >"$log" 2>&1 && return
	tail -n 60 "$log" >&2
	echo "This failed: $* (above; all of it is in $log)" >&2
	return 1
}
