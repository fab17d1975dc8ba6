# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
# What belongs together stays together: real repositories, changed on both sides while apart.

git_at() { local dir=$1; shift; git --git-dir="$dir" "$@"; }
whole() { git_at "$1" fsck --full --strict >"$TMP/fsck.git" 2>&1 || fail "git fsck of $1: $(cat "$TMP/fsck.git")"; }

LIMIT_S[t_a_repository_committed_to_on_both_sides_is_two_whole_ones]=120
t_a_repository_committed_to_on_both_sides_is_two_whole_ones() {
	local copy side m
	pair_up
	git init -q "$A/repo"
	seq 1 200 >"$A/repo/lines"
	git -C "$A/repo" add lines
	git -C "$A/repo" commit -qm base
	git -C "$A/repo" gc -q
	both_equal
	link_cut_down
	wait_apart
	for n in 1 2 3; do
		echo "left $n" >"$A/repo/left$n"
		git -C "$A/repo" add "left$n"
		git -C "$A/repo" commit -qm "left $n"
		echo "right $n" >"$B/repo/right$n"
		git -C "$B/repo" add "right$n"
		git -C "$B/repo" commit -qm "right $n"
	done
	git -C "$B/repo" gc -q
	link_restore
	wait_together
	both_equal
	copy=$(cd "$A/repo" && echo .git.conflict-right-*)
	for side in a b; do
		m=$(mountpoint_of "$side")/repo
		whole "$m/.git"
		whole "$m/$copy"
		is_equal "$(git_at "$m/.git" log --format=%s | tr '\n' ' ')" 'left 3 left 2 left 1 base ' log
		is_equal "$(git_at "$m/$copy" log --format=%s | tr '\n' ' ')" 'right 3 right 2 right 1 base ' log
	done
	tw_a conflicts "$A" | grep -q 'both sides changed this unit'
	is_equal "$(status_of a conflicts)" 1 'open conflicts'
	tw_b why "$B/repo/.git" | grep -q 'both versions were kept'
	# git itself can take the other history in
	git -C "$A/repo" fetch -q "$A/repo/$copy" HEAD
	rm "$A"/repo/right?
	git -C "$A/repo" merge -q -m both FETCH_HEAD
	whole "$A/repo/.git"
}
