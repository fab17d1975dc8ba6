# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
# What people do on two machines while apart, each story in a directory of its own (users.py): nothing of it is lost, and
# both end equal.

users() { python3 "$E2E_HERE/users.py" "$@"; }

repositories_whole() {
	local repo
	find "$1" -type d -name '.git*' -prune -print >"$TMP/repos"
	while read -r repo; do
		[ -e "$repo/HEAD" ] || continue
		git --git-dir="$repo" fsck --full --strict >"$TMP/fsck.git" 2>&1 || fail "git fsck of $repo: $(cat "$TMP/fsck.git")"
	done <"$TMP/repos"
}

# stories_end_well SIDE_OF_LEFT SIDE_OF_RIGHT: who does the left part of each
stories_end_well() {
	local l r
	l=$(mountpoint_of "$1") r=$(mountpoint_of "$2")
	pair_up
	users base "$A"
	both_equal
	users note "$A" "$TMP/base"
	link_cut_down
	wait_apart
	users left "$l" &
	users right "$r"
	wait "$!"
	users note "$l" "$TMP/left"
	users note "$r" "$TMP/right"
	link_restore
	wait_together
	both_equal
	users check "$A" "$TMP/base" "$TMP/left" "$TMP/right" "$TMP/now"
	repositories_whole "$A"
	repositories_whole "$B"
}

LIMIT_S[t_stories_of_two_people_end_well]=120
t_stories_of_two_people_end_well() { stories_end_well a b; }

LIMIT_S[t_stories_of_two_people_end_well_the_other_way_round]=120
t_stories_of_two_people_end_well_the_other_way_round() { stories_end_well b a; }
