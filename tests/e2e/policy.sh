# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# Policies on real mounts; what each makes of a file is in tests/test_policy.c.

t_a_policy_given_on_one_side_decides_and_is_shown_on_the_other() {
	pair_up
	printf '%s\n' 1 2 3 4 5 6 >"$A/plan.txt"
	tw_b policy "$B" set '*.txt' keep-both
	wait_synced
	tw_a policy "$A" | grep -q '^\*\.txt *keep-both'
	link_cut_down
	wait_apart
	printf '%s\n' one 2 3 4 5 6 >"$A/plan.txt"
	printf '%s\n' 1 2 3 4 5 six >"$B/plan.txt"
	link_restore
	wait_together
	same_tree "$A" "$B"
	grep -q '^six' "$B"/plan.conflict-right-*.txt
	tw_a conflicts "$A" | grep -q 'policy keep-both'
	tw_a policy "$A" unset '*.txt'
	wait_synced
	tw_b policy "$B" | grep -q 'no policies'
}

t_a_command_merges_as_the_mounting_user_and_sees_the_path() {
	pair_up
	mkdir "$A/d"
	printf '%s\n' a c e >"$A/d/words"
	wait_synced
	# shellcheck disable=SC2016 # for the command's shell
	tw_a policy "$A" set '/d/words' 'command sh -c '\''echo "$TWINFS_PATH $(id -u)"; sort -u -m "$1" "$2" "$3"'\'' -'
	wait_synced
	link_cut_down
	wait_apart
	printf '%s\n' a b c e >"$A/d/words"
	printf '%s\n' a c d e >"$B/d/words"
	link_restore
	wait_together
	same_tree "$A" "$B"
	has_content "$A/d/words" "/d/words $(id -u)"$'\na\nb\nc\nd\ne'
	tw_b conflicts "$B" --resolve "$B/d/words" --keep both
	wait_synced
	is_equal "$(status_of a merged)" 0 merged
}

LIMIT_S[t_a_command_that_hangs_is_ended_and_both_versions_are_kept]=90
t_a_command_that_hangs_is_ended_and_both_versions_are_kept() {
	pair_up
	echo base >"$A/f"
	wait_synced
	tw_a policy "$A" set f "command sleep 1000; echo $E2E_DIR"
	wait_synced
	link_cut_down
	wait_apart
	echo left >"$A/f"
	echo right >"$B/f"
	link_restore
	within 20 pgrep -f "echo $E2E_DIR" >"$TMP/pid"
	# The mount goes on meanwhile.
	echo other >"$A/g"
	has_content "$A/g" other
	wait_together
	same_tree "$A" "$B"
	has_content "$A/f" left
	has_content "$(echo "$A"/f.conflict-right-*)" right
	tw_a conflicts "$A" | grep -q 'took longer than'
	! kill -0 "$(head -n 1 "$TMP/pid")" 2>/dev/null
}
