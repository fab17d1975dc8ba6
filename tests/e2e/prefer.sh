# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# twinfs resume --prefer: one side's tree counts, and what the other had can be had.

# apart DISCARDED: both sides have gone on by themselves.
apart_with_changes() {
	local d k
	d=$(mountpoint_of "$1")
	[ "$1" = a ] && k=$B || k=$A
	pair_up
	mkdir "$A/docs"
	echo base >"$A/docs/plan"
	echo base >"$A/docs/old"
	echo base >"$A/both"
	wait_synced
	link_cut_down
	wait_apart
	echo kept >"$k/both"
	echo kept >"$k/new-kept"
	echo discarded >"$d/both"
	echo discarded >"$d/docs/plan"
	mkdir "$d/own"
	echo discarded >"$d/own/file"
	rm "$d/docs/old"
	sync "$A" "$B"
}

says_prefer() { [[ "$(status_of a why)$(status_of b why)" == *--prefer* ]]; }

in_place_of() { # in_place_of DISCARDED: as it must be on both sides
	local m node=left
	[ "$1" = a ] || node=right
	wait_together
	for m in "$A" "$B"; do
		has_content "$m/both" kept
		has_content "$m/new-kept" kept
		has_content "$m/docs/plan" base
		has_content "$m/docs/old" base
		[ ! -e "$m/own" ] || fail "$m/own is still there"
		has_content "$m/.twinfs/discarded-$node-"*/both discarded
		has_content "$m/.twinfs/discarded-$node-"*/docs/plan discarded
		has_content "$m/.twinfs/discarded-$node-"*/own/file discarded
	done
	same_tree "$A" "$B"
	is_equal "$(status_of a conflicts) $(status_of b conflicts)" "0 0" "conflicts that wait"
	is_equal "$(status_of a merged) $(status_of b merged)" "1 1" "what can be taken back"
}

LIMIT_S[t_this_side_is_preferred_on_the_primary_that_is_disconnected]=200
t_this_side_is_preferred_on_the_primary_that_is_disconnected() {
	local kept
	apart_with_changes b
	tw_a resume "$A" --prefer local | grep -q 'when both meet'
	is_equal "$(status_of a prefer.keep) $(status_of a prefer.in_force)" "local False" "the word"
	is_equal "$(status_of b prefer)" null "the word, where nobody gave it"
	{ tw_a status "$A" || true; } | grep -q 'prefer .*the tree of this side is taken, and what right changed goes to .twinfs'
	link_restore
	in_place_of b
	is_equal "$(status_of a prefer)" null "the word, when it is done"
	tw_b why "$B/docs/plan" | grep -q 'what right had changed of /docs/plan was discarded at .*, and is kept as /.twinfs/disc'
	tw_b why "$B/docs/old" | grep -q '/docs/old was deleted on right; that was discarded at .*, as left was preferred'
	tw_a conflicts "$A" | grep -q '1 discarded by resume --prefer'
	refused_a 'is connected' resume "$A" --prefer local
	# One thing is taken back, the rest is dismissed.
	kept=$(cd "$A" && echo .twinfs/discarded-right-*)
	tw_a conflicts "$A" --resolve "$kept/docs/plan" --keep peer
	both_equal
	has_content "$B/docs/plan" discarded
	has_content "$B/docs/plan.before-restore" base
	# What is kept besides what is there loses neither.
	tw_b conflicts "$B" --resolve "$kept/both" --keep both
	both_equal
	has_content "$A/both" kept
	has_content "$A"/both.conflict-right-* discarded
	tw_b conflicts "$B" --dismiss "$kept" | grep -q ': 1 dismissed'
	both_equal
	[ ! -e "$A/$kept" ] || fail "it is still there"
	is_equal "$(status_of a merged) $(status_of b merged)" "0 0" "what can be taken back"
}

LIMIT_S[t_this_side_is_preferred_on_the_secondary_that_is_paused]=200
t_this_side_is_preferred_on_the_secondary_that_is_paused() {
	apart_with_changes a
	tw_b pause "$B" --for 1h
	status_of b action | grep -q 'it resumes by itself at 20..-.*Z$' || fail "do: $(status_of b action)"
	link_restore
	tw_b resume "$B" --prefer local
	in_place_of a
	# All of it, by the conflict's id, and with all else that is kept of merges.
	tw_a conflicts "$A" --resolve "$(conflicts_of a | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["id"])')" \
		--keep local
	both_equal
	has_content "$B/both" discarded
	has_content "$B/both.before-restore" kept
	has_content "$B/own/file" discarded
	is_equal "$(status_of b merged)" 0 "what can be taken back"
	[ -z "$(ls -A "$A/.twinfs")" ] || fail "something is left in .twinfs"
}

LIMIT_S[t_the_peer_is_preferred_by_the_secondary_and_both_are_killed_meanwhile]=200
t_the_peer_is_preferred_by_the_secondary_and_both_are_killed_meanwhile() {
	apart_with_changes b
	tw_b resume "$B" --prefer peer
	kill_side b
	kill_side a
	mount_side a
	mount_side b
	link_restore
	sleep "0.$((RANDOM % 9))" # anywhere in the reconciliation, or after it
	kill_side b
	mount_side b
	in_place_of b
}

LIMIT_S[t_the_peer_is_preferred_by_the_primary_and_words_against_each_other_are_refused]=200
t_the_peer_is_preferred_by_the_primary_and_words_against_each_other_are_refused() {
	apart_with_changes a
	tw_a resume "$A" --prefer peer
	tw_b resume "$B" --prefer peer
	link_restore
	within "$SOON_S" says_prefer
	has_content "$A/both" discarded
	tw_b resume "$B"
	in_place_of a
	tw_b conflicts "$B" --dismiss all --older-than 1d | grep -q '^all: 0 dismissed'
	unmount_side b
	tw_b conflicts "$SB" --dismiss all | grep -q '^all: 1 dismissed'
	mount_side b
	wait_together
	both_equal
	is_equal "$(status_of a merged)" 0 "what can be taken back"
	[ -z "$(ls -A "$A/.twinfs")" ] || fail "something is left in .twinfs"
}
