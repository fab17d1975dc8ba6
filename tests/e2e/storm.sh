# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# Anything at any time: random work on both sides while the link is cut, a daemon dies, a person pauses. After each round both sides
# are equal and what nobody touched is there.
#	E2E_SEED=N repeats the choices of a run (not its timing); E2E_STORM_S=N makes the rounds go on for N seconds.

storm() { python3 "$E2E_HERE/storm.py" "$@"; }

# storm_round DIR_LEFT DIR_RIGHT: a few seconds of work in both, with one mishap.
storm_round() {
	local left right crashed='' mishap=$((RANDOM % 6))
	note "round: mishap $mishap"
	storm work "$1" left "$RANDOM" 4 "$TMP/kept.left" &
	left=$!
	storm work "$2" right "$RANDOM" 4 "$TMP/kept.right" &
	right=$!
	sleep "$((RANDOM % 2)).$((RANDOM % 10))"
	case $mishap in
	0) link_cut_down ;;
	1) link_cut_drop ;;
	2) crashed=a ;;
	3) crashed=b ;;
	4) tw_a pause "$A" >/dev/null ;;
	5)
		link_cut_drop
		sleep "0.$((RANDOM % 10))"
		link_restore
		;;
	esac
	if [ -n "$crashed" ]; then
		kill_side "$crashed"
		sleep 0.5
		mount_side "$crashed"
	fi
	wait "$left" "$right"
	[ "$mishap" != 4 ] || tw_a resume "$A"
	link_restore
	wait_together
	same_tree "$A" "$B"
	storm check "$A" "$TMP/kept.left" "$TMP/kept.right"
}

# storms_end_equal DIR_LEFT DIR_RIGHT, below the mountpoints
storms_end_equal() {
	local seed=${E2E_SEED:-$RANDOM} end_s
	note "again: E2E_SEED=$seed"
	RANDOM=$seed
	pair_up
	mkdir -p "$A/$1" "$A/$2"
	both_equal
	end_s=$((SECONDS + ${E2E_STORM_S:-25}))
	while [ "$SECONDS" -lt "$end_s" ]; do storm_round "$A/$1" "$B/$2"; done
	unmount_side b
	unmount_side a
	tw_a fsck "$SA"
	tw_b fsck "$SB"
}

LIMIT_S[t_random_work_in_one_folder_ends_equal]=240
t_random_work_in_one_folder_ends_equal() { storms_end_equal both both; }

LIMIT_S[t_random_work_in_a_folder_each_ends_equal]=240
t_random_work_in_a_folder_each_ends_equal() { storms_end_equal left right; }
