# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# kill -9 on a real mount against a model of what a program did and of what an fsync promised it.
#	E2E_SEED=N repeats the choices of a run (not its timing); E2E_CRASH_S=N makes it go on for N seconds.

model() { python3 "$E2E_HERE/crashmodel.py" "$@"; }

# A daemon as people start it: in the background by itself.
crash_mount() { tw_a mount "$SA" "$A" "$@" >"$TMP/mount.out"; }
crash_pid() { cat "$SA/lock"; }

# crash_round SEED [CHECK...]: work in a directory of its own, death at any moment, `twinfs mount` over the dead mount,
# judgement; CHECK is one more, before the directory is removed.
crash_round() {
	local seed=$1 dir=$A/round-$1 journal=$TMP/journal.$1 worker rc=0 victim
	shift
	mkdir "$dir"
	sync "$A" # syncfs(2) does not reach a FUSE filesystem, fsync does
	model work "$dir" "$seed" "$journal" &
	worker=$!
	within "$SOON_S" test -s "$journal"
	sleep "$((RANDOM % 2)).$((RANDOM % 900 + 100))"
	victim=$(crash_pid)
	if ((RANDOM % 2)); then # all that is of it, as when a whole cgroup is killed
		pkill -9 -P "$victim" -x twinfs-guard || note "there is no guard"
	fi
	kill -9 "$victim"
	within "$SOON_S" gone "$victim"
	wait "$worker" || rc=$?
	is_equal "$rc" 0 "exit code of the worker (seed $seed)"
	refused_by_dead_mount "$A"
	crash_mount
	model check "$dir" "$seed" "$journal" || fail "after a crash (seed $seed)"
	"$@"
	rm -r "$dir"
}
unmount_daemon() {
	local pid
	pid=$(crash_pid)
	fusermount3 -u "$A"
	within "$SOON_S" gone "$pid"
}
refused_by_dead_mount() { ! ls "$1" >/dev/null 2>&1 || fail "the mount still answers"; }

# The other side gets the very state that is there after the crash: it was never ahead of what was durable here.
as_on_the_left() {
	wait_together
	same_tree "$A" "$B"
}

LIMIT_S[t_a_killed_side_of_a_pair_and_its_peer_are_one]=1200
t_a_killed_side_of_a_pair_and_its_peer_are_one() {
	local seed=${E2E_SEED:-$RANDOM} end_s token
	note "again: E2E_SEED=$seed"
	RANDOM=$seed
	tw_a init "$SA" --name left >/dev/null
	token=$(tw_a invite "$SA" --listen "$ADDR_A:$PORT")
	crash_mount
	tw_b join "$token" "$SB" --name right >/dev/null
	mount_side b
	wait_together
	end_s=$((SECONDS + ${E2E_CRASH_S:-12}))
	while [ "$SECONDS" -lt "$end_s" ]; do crash_round "$RANDOM" as_on_the_left; done
	unmount_side b
	unmount_daemon
	tw_a fsck "$SA"
	tw_b fsck "$SB"
}

LIMIT_S[t_a_killed_daemon_leaves_a_state_that_was]=1200
t_a_killed_daemon_leaves_a_state_that_was() {
	local seed=${E2E_SEED:-$RANDOM} end_s
	note "again: E2E_SEED=$seed"
	RANDOM=$seed
	tw_a init "$SA" --name left >/dev/null
	crash_mount
	end_s=$((SECONDS + ${E2E_CRASH_S:-12}))
	while [ "$SECONDS" -lt "$end_s" ]; do crash_round "$RANDOM"; done
	unmount_daemon
	tw_a fsck "$SA"
}
