# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Scaffold of the end-to-end tests: two stores, two mounts, two network namespaces and a link between them that can be
# cut. Nothing outlives a test: whatever it started carries the test's own directory in its command line, lives in the
# test's own namespaces, or is mounted below its directory; e2e_cleanup finds it there.
#
# A scenario file holds functions t_BEHAVIOUR. Each runs in a bash of its own, under `set -eu`, after e2e_init. It fails when any
# command fails. LIMIT_S[t_x]=N in the file gives it N seconds instead of the usual 60.
#
# In a test:
#	$A $B      mountpoints           $SA $SB  stores           $TMP  a directory to play in
#	tw_a ARGS  run twinfs on side a  tw_b ARGS
#	ns_a CMD   run CMD in side a's network; as it keeps the mount namespace, mounts are seen everywhere
# shellcheck disable=SC2034 # the variables are for the scenarios

E2E_HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TWINFS=${TWINFS:-$(command -v twinfs || true)}
declare -A LIMIT_S

# Addresses live inside the two namespaces only, so every test can use the same.
ADDR_A=10.177.0.1 ADDR_B=10.177.0.2 PORT=7440
# How long anything that should happen soon may take before the test fails.
SOON_S=40

note() { printf '%s\n' "$*" >&2; }
fail() { note "FAILED: $*"; exit 1; }
skip() { note "SKIP: $*"; exit 77; }

# ---- life of a test

e2e_init() {
	[ -x "$TWINFS" ] || fail "TWINFS=$TWINFS is not a program"
	E2E_DIR=$(mktemp -d "${TMPDIR:-/tmp}/twe2e.XXXXXX") # short: a control socket's path has room for 107 bytes
	trap 'e2e_exit $?' EXIT
	trap 'exit 143' TERM INT HUP
	A=$E2E_DIR/a B=$E2E_DIR/b SA=$E2E_DIR/sa SB=$E2E_DIR/sb TMP=$E2E_DIR/tmp
	chmod 755 "$E2E_DIR" # other users may go in: some tests are about them
	mkdir "$A" "$B" "$TMP"
	# git must not care about who owns what nor read the person's own settings
	export HOME=$TMP GIT_CONFIG_GLOBAL=$TMP/gitconfig GIT_CONFIG_NOSYSTEM=1
	printf '[user]\n\tname = t\n\temail = t@example.org\n[safe]\n\tdirectory = *\n[gc]\n\tauto = 0\n' >"$GIT_CONFIG_GLOBAL"
	PID_a='' PID_b=''
	net_up
}

e2e_exit() {
	local rc=$1
	trap - EXIT
	set +eu
	if [ "$rc" -ne 0 ] && [ "$rc" -ne 77 ]; then
		local side
		for side in a b; do
			[ -s "$E2E_DIR/$side.log" ] || continue
			note "---- the end of daemon $side's log"
			tail -n 25 "$E2E_DIR/$side.log" >&2
		done
	fi
	e2e_cleanup "$rc" || rc=1
	exit "$rc"
}

store_free() { [ ! -e "$1/lock" ] || flock -n "$1/lock" true; }

# Whatever a test did, and though its daemons were just killed, a store keeps every rule of one. STORE_DAMAGED=1 in a
# test that breaks its own.
stores_whole() {
	local store rc=0
	[ -z "${STORE_DAMAGED:-}" ] || return 0
	for store in "$SA" "$SB"; do
		[ -e "$store/twinfs.db" ] || continue
		# A daemon that was killed is not gone at once.
		within 10 store_free "$store" || true
		timeout 60 "$TWINFS" fsck --tables "$store" >"$TMP/fsck.out" 2>&1 && continue
		note "FAILED: fsck of $store:"
		head -n 20 "$TMP/fsck.out" >&2
		rc=1
	done
	return $rc
}

# Mounts of this test, deepest first: "MAJOR:MINOR MOUNTPOINT". Read from the kernel: touching a dead mount can hang.
my_mounts() {
	awk -v d="$E2E_DIR/" 'index($5, d) == 1 { print $3, $5 }' /proc/self/mountinfo | sort -rk2
}

# Processes of this test: our directory in their arguments, in one of our namespaces, or in the process group that
# ./run made for us; never ourselves.
my_pids() {
	local p args
	{
		# The group is ours alone when timeout, our parent, leads it.
		[ "$(ps -o pgid= -p $$ | tr -d ' ')" = "$PPID" ] && ps -eo pid=,pgid= | awk -v g="$PPID" '$2 == g { print $1 }'
		ip netns pids "$NS_A" 2>/dev/null
		ip netns pids "$NS_B" 2>/dev/null
		for p in /proc/[0-9]*; do
			{ args=$(tr '\0' ' ' <"$p/cmdline"); } 2>/dev/null || continue
			case $args in *"$E2E_DIR"*) echo "${p#/proc/}" ;; esac
		done
	} | sort -un | grep -vx -e $$ -e "$BASHPID" -e "$PPID"
}

e2e_cleanup() {
	local dev where p whole=0
	for p in $(my_pids); do kill -9 "$p" 2>/dev/null; done
	while read -r dev where; do
		# If the daemon hangs in the kernel, whoever waits for it gets an error.
		[ -e "/sys/fs/fuse/connections/${dev#*:}/abort" ] &&
			echo 1 >"/sys/fs/fuse/connections/${dev#*:}/abort" 2>/dev/null
		timeout 10 fusermount3 -uz "$where" 2>/dev/null || timeout 10 umount -l "$where" 2>/dev/null
	done < <(my_mounts)
	net_down
	[ "$1" -ne 0 ] || stores_whole || whole=1
	if [ -z "$(my_mounts)" ]; then
		if [ -n "${E2E_KEEP:-}" ]; then
			note "kept: $E2E_DIR"
		else
			rm -rf --one-file-system "$E2E_DIR"
		fi
	else
		note "could not unmount: $(my_mounts)"
	fi
	return $whole
}

# ---- the network

net_up() {
	NS_A=twa$$ NS_B=twb$$
	ip netns add "$NS_A"
	ip netns add "$NS_B"
	ip -n "$NS_A" link add link0 type veth peer name link0 netns "$NS_B"
	ip -n "$NS_A" addr add "$ADDR_A/30" dev link0
	ip -n "$NS_B" addr add "$ADDR_B/30" dev link0
	local ns
	for ns in "$NS_A" "$NS_B"; do
		ip -n "$ns" link set lo up
		ip -n "$ns" link set link0 up
	done
}

net_down() {
	ip netns del "$NS_A" 2>/dev/null
	ip netns del "$NS_B" 2>/dev/null
	return 0
}

ns_a() { nsenter --net="/run/netns/$NS_A" "$@"; }
ns_b() { nsenter --net="/run/netns/$NS_B" "$@"; }
# by_side a|b CMD...
by_side() { local side=$1; shift; "ns_$side" "$@"; }

# The cable is pulled: both ends see it at once.
link_cut_down() { ip -n "$NS_A" link set link0 down; }
# The other kind: packets vanish, in both directions, and nobody is told.
link_cut_drop() {
	local side hook
	for side in a b; do
		by_side "$side" nft add table inet cut
		for hook in input output; do
			by_side "$side" nft add chain inet cut "$hook" "{ type filter hook $hook priority 0; policy accept; }"
			by_side "$side" nft add rule inet cut "$hook" meta iifname link0 drop
			by_side "$side" nft add rule inet cut "$hook" meta oifname link0 drop
		done
	done
}
link_restore() {
	ns_a nft delete table inet cut 2>/dev/null || true
	ns_b nft delete table inet cut 2>/dev/null || true
	ip -n "$NS_A" link set link0 up
}

# ---- twinfs

tw_a() { ns_a "$TWINFS" "$@"; }
tw_b() { ns_b "$TWINFS" "$@"; }
tw() { local side=$1; shift; "tw_$side" "$@"; }
mountpoint_of() { [ "$1" = a ] && echo "$A" || echo "$B"; }
store_of() { [ "$1" = a ] && echo "$SA" || echo "$SB"; }

is_mounted() { awk -v m="$1" '$5 == m { found = 1 } END { exit !found }' /proc/self/mountinfo; }

# within SECONDS CMD...: until CMD succeeds; fails when it does not in time.
within() {
	local limit_s=$1 end_s=$((SECONDS + $1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end_s" ] || { note "not within $limit_s s: $*"; return 1; }
		sleep 0.1
	done
}

# mount_side a|b [OPTIONS]: in the foreground, in the background of this shell, so that we have its log and its pid.
mount_side() {
	local side=$1 m s
	shift
	m=$(mountpoint_of "$side") s=$(store_of "$side")
	nsenter --net="/run/netns/$(ns_name "$side")" "$TWINFS" mount "$s" "$m" -f "$@" >>"$E2E_DIR/$side.log" 2>&1 &
	printf -v "PID_$side" %s $!
	within "$SOON_S" mounted_or_dead "$side" && is_mounted "$m" || fail "side $side did not mount"
}
ns_name() { [ "$1" = a ] && echo "$NS_A" || echo "$NS_B"; }
pid_of() { local v=PID_$1; echo "${!v}"; }
mounted_or_dead() {
	if ! kill -0 "$(pid_of "$1")" 2>/dev/null; then return 0; fi
	is_mounted "$(mountpoint_of "$1")" && [ "$(status_of "$1" mountpoint 2>/dev/null)" = "$(mountpoint_of "$1")" ]
}

# Planned: drains, and the daemon is gone when this returns.
unmount_side() {
	local side=$1
	by_side "$side" fusermount3 -u "$(mountpoint_of "$side")"
	within "$SOON_S" gone "$(pid_of "$side")" || fail "daemon $side did not leave after fusermount3 -u"
}
gone() { ! kill -0 "$1" 2>/dev/null; }

# A crash. The mountpoint is free again when this returns.
kill_side() {
	local side=$1
	kill -9 "$(pid_of "$side")"
	within "$SOON_S" gone "$(pid_of "$side")"
	umount -l "$(mountpoint_of "$side")" 2>/dev/null || true
}

# pair_up [INIT OPTIONS]: both sides mounted and in step; side a is the primary, their names are left and right.
pair_up() {
	local token
	tw_a init "$SA" --name left "$@" >"$TMP/init.out"
	token=$(tw_a invite "$SA" --listen "$ADDR_A:$PORT")
	echo "$token" >"$TMP/token"
	mount_side a
	tw_b join "$token" "$SB" --name right >"$TMP/join.out"
	mount_side b
	wait_state a connected
	wait_state b connected
	wait_synced
}

# single_up: one side alone, for what needs no peer.
single_up() {
	tw_a init "$SA" --name left "$@" >"$TMP/init.out"
	mount_side a
}

# status_of a|b KEY: a value out of status --json; KEY may be a path such as peer.node. Its exit code is no error here.
status_of() {
	local out
	out=$(tw "$1" status "$(store_of "$1")" --json) || [ $? -lt 5 ] || return 1
	python3 -c '
import json, sys
v = json.loads(sys.argv[1])[0]
for k in sys.argv[2].split("."):
    v = v[k]
print("null" if v is None else v)' "$out" "$2"
}
has_state() { [ "$(status_of "$1" state)" = "$2" ]; }
# wait_state a|b STATE [SECONDS]
wait_state() {
	within "${3:-$SOON_S}" has_state "$1" "$2" || fail "side $1 is '$(status_of "$1" state)' ($(status_of "$1" why)), not $2"
}
wait_synced() {
	tw_a wait "$A" --synced --timeout "${1:-60}" || fail "side a did not get in step"
	tw_b wait "$B" --synced --timeout "${1:-60}" || fail "side b did not get in step"
}
# Cut, and both know.
wait_apart() { wait_state a disconnected "${1:-60}"; wait_state b disconnected "${1:-60}"; }
# Restored, and both are in step again.
wait_together() {
	wait_state a connected "${1:-90}"
	wait_state b connected "${1:-90}"
	wait_synced "${1:-90}"
}

conflicts_of() { tw "$1" conflicts "$(mountpoint_of "$1")" --json; }

# ---- what must hold

# same_tree DIR DIR
same_tree() {
	python3 "$E2E_HERE/treedump.py" "$1" >"$TMP/tree.1" || fail "cannot read all of $1"
	python3 "$E2E_HERE/treedump.py" "$2" >"$TMP/tree.2" || fail "cannot read all of $2"
	diff "$TMP/tree.1" "$TMP/tree.2" >"$TMP/tree.diff" || {
		note "trees differ (< $1, > $2):"
		head -n 20 "$TMP/tree.diff" >&2
		return 1
	}
}
# Both mounts, in step and equal.
both_equal() { wait_synced "${1:-60}"; same_tree "$A" "$B"; }

is_equal() { [ "$1" = "$2" ] || fail "${3:-values differ}: '$1' is not '$2'"; }
has_content() { is_equal "$(cat "$1")" "$2" "content of $1"; }

# refused PATTERN CMD...: CMD fails, soon, and says why in one line on stderr that matches PATTERN.
refused() {
	local pattern=$1 rc=0
	shift
	timeout 45 "$@" >"$TMP/refused.out" 2>"$TMP/refused.err" || rc=$?
	[ "$rc" -ne 0 ] || fail "went through: $*"
	[ "$rc" -ne 124 ] || fail "neither worked nor failed within 45 s: $*"
	[ "$rc" -lt 128 ] || fail "died of signal $((rc - 128)): $*"
	is_equal "$(grep -c . "$TMP/refused.err")" 1 "lines on stderr of: $*, which said: $(cat "$TMP/refused.err"); lines"
	grep -qiE -- "$pattern" "$TMP/refused.err" || fail "says '$(cat "$TMP/refused.err")', nothing about '$pattern': $*"
}
refused_a() { local p=$1; shift; refused "$p" nsenter --net="/run/netns/$NS_A" "$TWINFS" "$@"; }
refused_b() { local p=$1; shift; refused "$p" nsenter --net="/run/netns/$NS_B" "$TWINFS" "$@"; }

# A print of a directory that is no mount: names and bytes.
fingerprint() { (cd "$1" && find . -type f ! -name '*.sock' ! -name '*-shm' -print0 | sort -z | xargs -0 -r sha256sum; find "$1" | sort) | sha256sum; }

# store_sql STORE STATEMENT: on the database of a store that is not mounted, as twinfs would write it: each page with its
# sum. Built here if the build has none.
store_sql() {
	local built src=$E2E_HERE/../..
	built=$(dirname "$TWINFS")/tests/store_sql
	if [ ! -x "$built" ]; then
		built=$TMP/store_sql
		[ -x "$built" ] || cc -std=gnu11 -D_GNU_SOURCE -O1 -pthread -I"$src" -o "$built" "$src/tests/store_sql.c" \
			"$src"/db/{log,page}_sums.c "$src"/util/{log,map,util}.c -lsqlite3
	fi
	"$built" "$@"
}
