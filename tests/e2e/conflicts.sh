# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# Conflicts as things, on real mounts: listed, counted, compared, settled, dismissed, taken apart, from either side. All
# the cases are in tests/test_conflicts.c.

# row a|b KIND EXPRESSION [PATH]: of the newest conflict of that kind, c, whose path has PATH in it.
row() {
	conflicts_of "$1" >"$TMP/rows"
	python3 -c '
import json, sys
c = [c for c in json.load(open(sys.argv[1])) if c["kind"] == sys.argv[2] and sys.argv[4] in c["path"]][-1]
v = {x["side"]: x for x in c["versions"]}
print(eval(sys.argv[3]))' "$TMP/rows" "$2" "$3" "${4:-}"
}
counts() { echo "$(status_of "$1" conflicts) $(status_of "$1" merged)"; }
exits() {
	local want=$1 rc=0
	shift
	"$@" >"$TMP/exits.out" || rc=$?
	is_equal "$rc" "$want" "exit code of $*"
}

# quarrel FILE: kept twice, as its parts depend on each other... or so says the policy.
quarrel() {
	tw_a policy "$A" set "$1" keep-both
	printf '%s\n' 1 2 3 >"$A/$1"
	wait_synced
	link_cut_down
	wait_apart
	printf '%s\n' left 2 3 >"$A/$1"
	printf '%s\n' 1 2 right >"$B/$1"
	link_restore
	wait_together
}

LIMIT_S[t_a_conflict_is_listed_compared_and_settled_on_both_sides]=120
t_a_conflict_is_listed_compared_and_settled_on_both_sides() {
	pair_up
	quarrel notes.txt
	local side m copy
	for side in a b; do
		m=$(mountpoint_of "$side")
		is_equal "$(counts "$side")" "1 0" "conflicts and merged of $side"
		exits 3 tw "$side" status "$m"
		# base, mine and theirs can be opened; the walk does not list them
		has_content "$m$(row "$side" content 'c["base"]["path"]')" $'1\n2\n3'
		is_equal "$(find "$m" -name '*base-notes*' -not -path '*/.twinfs/*' | wc -l)" 0 "listed bases"
		tw "$side" conflicts "$m" >"$TMP/list"
		grep -q '^/notes.txt   <- waiting for you' "$TMP/list" || fail "list: $(cat "$TMP/list")"
		grep -q 'before  *//*.twinfs/.*base-notes.txt' "$TMP/list" || fail "list: $(cat "$TMP/list")"
		tw "$side" conflicts "$m" --diff "$m/notes.txt" >"$TMP/diff"
		grep -q '^+left' "$TMP/diff" && grep -q '^+right' "$TMP/diff" && grep -q '^--- before' "$TMP/diff" ||
			fail "diff: $(cat "$TMP/diff")"
	done
	grep -q '^+++ right (here)' "$TMP/diff"
	has_content "$A$(row a content 'v["local"]["path"]')" $'left\n2\n3'
	has_content "$A$(row a content 'v["peer"]["path"]')" $'1\n2\nright'
	is_equal "$(TWINFS_DIFF='wc -l' tw_b conflicts "$SB" --diff notes.txt | tail -n 1 | tr -s ' ')" " 9 total" "TWINFS_DIFF"
	# nobody is left in the temporary directory
	is_equal "$(find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'twinfs-diff.*' | wc -l)" 0 "directories left by diff"
	copy=$(row b content 'v["local"]["path"]')
	tw_b conflicts "$B" --resolve "$B$copy" --keep local
	tw_b conflicts "$B" --resolve notes.txt --keep local
	both_equal
	for side in a b; do
		m=$(mountpoint_of "$side")
		is_equal "$(counts "$side")" "0 0" "conflicts and merged of $side"
		exits 0 tw "$side" status "$m"
		has_content "$m/notes.txt" $'1\n2\nright'
		[ ! -e "$m$copy" ] || fail "$m$copy is still there"
		is_equal "$(ls -A "$m/.twinfs")" "" "kept versions"
		tw "$side" why "$m/notes.txt" | grep -q 'that is settled' || fail "$(tw "$side" why "$m/notes.txt")"
	done
	refused_a 'no conflict of /none is known' conflicts "$A" --diff none
	refused_a 'no conflict of /none is known' conflicts "$A" --resolve none --keep both
	refused_a 'belong together' conflicts "$A" --resolve none
}

LIMIT_S[t_a_merge_is_taken_apart_or_dismissed_also_where_it_is_not_mounted]=120
t_a_merge_is_taken_apart_or_dismissed_also_where_it_is_not_mounted() {
	pair_up
	local f
	for f in one two three; do seq 1 9 >"$A/$f.txt"; done
	wait_synced
	ns_b "$TWINFS" events "$B" --json >"$TMP/events" 2>"$TMP/events.err" &
	local follower=$!
	within "$SOON_S" grep -q connected "$TMP/events"
	link_cut_down
	wait_apart
	for f in one two three; do
		{ echo left; seq 2 9; } >"$TMP/new"
		cat "$TMP/new" >"$A/$f.txt"
		{ seq 1 8; echo right; } >"$TMP/new"
		cat "$TMP/new" >"$B/$f.txt"
	done
	link_restore
	wait_together
	both_equal
	is_equal "$(counts a)" "0 3" "conflicts and merged"
	exits 0 tw_a status "$A"
	within "$SOON_S" grep -q '"event":"merged"' "$TMP/events"
	tw_a conflicts "$A" | grep -q '^3 merged, and nothing has to be done' || fail "$(tw_a conflicts "$A")"
	tw_b conflicts "$B" --dismiss "$B/one.txt"
	wait_synced
	is_equal "$(counts a)" "0 2" "conflicts and merged"
	within "$SOON_S" grep -q '"event":"resolved".*one.txt' "$TMP/events"
	tw_b conflicts "$B" --split two.txt
	within "$SOON_S" grep -q '"event":"conflict".*two.txt' "$TMP/events"
	both_equal
	is_equal "$(counts a)" "1 1" "conflicts and merged"
	has_content "$B/two.txt" "$(echo left; seq 2 9)"
	has_content "$(echo "$A"/two.conflict-right-*.txt)" "$(seq 1 8; echo right)"
	tw_a conflicts "$A" --dismiss all --older-than 1d | grep -q '^all: 0 dismissed'
	# not mounted, and after a crash
	kill_side b
	kill -0 "$follower" 2>/dev/null && kill "$follower"
	tw_b conflicts "$SB" --dismiss all | grep -q '^all: 1 dismissed'
	tw_b conflicts "$SB" --resolve two.txt --keep both
	is_equal "$(counts b)" "0 0" "conflicts and merged where it is not mounted"
	mount_side b
	wait_together
	both_equal
	is_equal "$(counts a)" "0 0" "conflicts and merged"
	is_equal "$(ls -A "$A/.twinfs")" "" "kept versions"
	refused_a 'no merge whose two versions are still kept' conflicts "$A" --split three.txt
}

t_what_are_no_files_is_compared_by_what_it_is() {
	pair_up
	link_cut_down
	wait_apart
	ln -s alpha "$A/link"
	ln -s beta "$B/link"
	mkdir "$A/thing"
	echo words >"$B/thing"
	link_restore
	wait_together
	tw_a conflicts "$A" --diff link >"$TMP/diff"
	grep -q 'left (here)  */link -> alpha$' "$TMP/diff" && grep -q 'right  */link.conflict-right-.* -> beta$' "$TMP/diff" ||
		fail "diff: $(cat "$TMP/diff")"
	tw_a conflicts "$A" --diff thing >"$TMP/diff"
	grep -q '/thing, a directory$' "$TMP/diff" && grep -q '/thing.conflict-right-.*, 6 bytes$' "$TMP/diff" ||
		fail "diff: $(cat "$TMP/diff")"
	# what has no use is not proposed
	! grep -q 'diff -r' "$TMP/diff"
}

LIMIT_S[t_settled_by_hand_or_differently_while_apart_nothing_is_lost]=120
t_settled_by_hand_or_differently_while_apart_nothing_is_lost() {
	pair_up
	quarrel one
	quarrel two
	quarrel bin
	is_equal "$(counts b)" "3 0" "conflicts and merged"
	rm "$B"/one.conflict-*
	wait_synced
	is_equal "$(counts a)" "2 0" "conflicts and merged after the copy was removed"
	mv "$A"/bin.conflict-* "$A/bin"
	wait_synced
	is_equal "$(counts b)" "1 0" "conflicts and merged after the copy was renamed over the original"
	has_content "$B/bin" $'1\n2\nright'
	link_cut_down
	wait_apart
	tw_a conflicts "$A" --resolve two --keep local
	tw_b conflicts "$B" --resolve two --keep local
	kill_side b
	mount_side b
	link_restore
	wait_together
	both_equal
	grep -qxF left "$A/two" || fail "the primary's choice is not in place: $(cat "$A/two")"
	grep -qx right "$B"/two.conflict-* || fail "the secondary's choice is lost: $(ls -A "$B")"
	is_equal "$(row a content 'all(x["path"] for x in c["versions"]) or c["resolved"]')" True "no path that is gone"
}

t_a_mode_an_acl_and_a_place_can_be_the_other_sides_after_all() {
	pair_up
	mkdir "$A/d"
	echo z >"$A/h"
	echo x >"$A/f"
	echo y >"$A/g"
	wait_synced
	link_cut_down
	wait_apart
	chmod 640 "$A/f"
	chmod 600 "$B/f"
	chmod 604 "$A/h"
	setfacl -m u:1001:rwx "$B/h"
	mv "$A/g" "$A/d/left"
	mv "$B/g" "$B/right"
	link_restore
	wait_together
	is_equal "$(stat -c %a "$B/f") $(counts b)" "640 0 0" "mode and counts"
	tw_b conflicts "$B" | grep -q 'right (here)  *0674 user::rw-,user:1001:rwx,group::r--,mask::rwx,other::r--'
	getfacl -cn "$A/h" "$B/h" >/dev/null
	tw_b conflicts "$B" --resolve h --keep local
	wait_synced
	is_equal "$(getfacl -cn "$A/h" "$B/h" | grep -c '^user:1001:rwx')" 2 "ACLs that are there after all"
	is_equal "$(stat -c %a "$A/h")" 674 "mode with the ACL"
	tw_a why "$A/h" | grep -q "then right's was taken by hand); left had 0604, right had 0674 user::"
	tw_a conflicts "$A" --resolve h --keep local
	wait_synced
	is_equal "$(getfacl -cn "$A/h" "$B/h" | grep -c '^user:1001')" 0 "ACLs that are gone again"
	is_equal "$(stat -c %a "$B/h")" 604 "mode without it"
	is_equal "$(row b attribute 'v["local"]["value"], v["peer"]["value"]' f)" "('0600', '0640')" "values"
	tw_b conflicts "$B" --diff f | grep -q 'right: 0600'
	stat "$A/f" "$A/d/left" >"$TMP/stat"
	tw_b conflicts "$B" --resolve f --keep local
	tw_a conflicts "$A" --resolve "$A/d/left" --keep peer
	both_equal
	is_equal "$(stat -c %a "$A/f")" 600 "mode on the other side"
	has_content "$B/right" y
	[ ! -e "$A/d/left" ] || fail "the primary's place is still there"
}
