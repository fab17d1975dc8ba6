# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# Who is the primary, how that changes; the end of a pair, and another peer.

LIMIT_S[t_a_forgotten_peer_makes_room_for_a_new_one]=240
t_a_forgotten_peer_makes_room_for_a_new_one() {
	local token n
	pair_up
	mkdir "$A/d"
	echo left >"$A/d/of-left"
	echo right >"$B/of-right"
	both_equal
	# a conflict that waits for somebody, and changes that were not sent
	tw_b pause "$B"
	echo l >"$A/both"
	echo r >"$B/both"
	sync "$A/both" "$B/both"
	tw_b resume "$B"
	wait_together
	n=$(conflicts_of a | grep -c kept-both)
	[ "$n" -gt 0 ] || fail "no conflict was made"
	link_cut_down
	wait_apart
	for n in 1 2 3 4 5; do echo "$n" >"$A/unsent$n"; rm -f "$A/of-right"; echo "$n" >>"$A/d/of-left"; done
	refused_a 'paired with right' invite "$A"
	cp -a "$A" "$TMP/before"

	tw_a baseline "$A" ls / >"$TMP/ls"
	grep -q of-right "$TMP/ls"
	mkdir "$TMP/base"
	tw_a mount -o baseline "$SA" "$TMP/base"
	refused_a 'baseline.*unmount it first' forget-peer "$A"
	ns_a fusermount3 -u "$TMP/base"
	within "$SOON_S" tw_a forget-peer "$A"

	is_equal "$(status_of a role) $(status_of a state)" "none unpaired"
	is_equal "$(status_of a pending.entries) $(status_of a peer)" "0 null"
	is_equal "$(conflicts_of a | grep -c kept-both)" 1
	same_tree "$A" "$TMP/before"
	refused_a 'no peer' forget-peer "$A"
	refused_a 'no baseline' baseline "$A" ls /

	# The other one hears of it when it knocks, and is told what to do.
	link_restore
	within "$SOON_S" hears_of_it b
	status_of b why | grep -q 'the node there .*forget-peer here' || fail "status of b says: $(status_of b why)"
	unmount_side b
	tw_b forget-peer "$SB" # not mounted
	is_equal "$(status_of b role)" none
	mount_side b
	has_content "$B/of-right" right

	# Its store is not taken for one that knows what this one has; a new one is.
	token=$(tw_a invite "$A" --listen "$ADDR_A:$PORT")
	unmount_side b
	refused_b 'half of a pair before' join "$token" "$SB" --name third
	rm -rf "$SB"
	tw_b join "$token" "$SB" --name third >"$TMP/join.out"
	echo meanwhile >"$A/meanwhile"
	mount_side b
	wait_together
	both_equal
	has_content "$B/unsent3" 3
	has_content "$B/meanwhile" meanwhile

	# And it is a pair as any other.
	link_cut_down
	wait_apart
	echo third >>"$B/d/of-left"
	mv "$A/d" "$A/e"
	rm "$B/unsent1"
	echo more >>"$A/unsent2"
	mkdir "$B/new" && echo x >"$B/new/x"
	link_restore
	wait_together
	both_equal
	grep -qx third "$A/e/of-left"
	[ ! -e "$A/unsent1" ]
	unmount_side a
	unmount_side b
	tw_a fsck "$SA" >"$TMP/fsck"
	tw_b fsck "$SB" >"$TMP/fsck"
}
hears_of_it() { [ "$(status_of "$1" state)" = disconnected ] && status_of "$1" why | grep -q 'has forgotten its peer'; }

LIMIT_S[t_a_connected_peer_is_told_that_it_is_forgotten]=240
t_a_connected_peer_is_told_that_it_is_forgotten() {
	pair_up
	echo one >"$A/one"
	both_equal
	tw_b forget-peer "$B"
	is_equal "$(status_of b state)" unpaired
	within "$SOON_S" has_state a paused
	status_of a why | grep -q 'right: it has forgotten this peer: twinfs forget-peer' || fail "$(status_of a why)"
	echo two >"$B/two"
	tw_a forget-peer "$A"
	is_equal "$(ls "$A") $(ls "$B")" "one one
two"
	# Who was the secondary can be the primary of the next pair.
	tw_b invite "$B" --listen "$ADDR_B:$PORT" >"$TMP/token"
	unmount_side a
	rm -rf "$SA"
	tw_a join "$(cat "$TMP/token")" "$SA" --name left >"$TMP/join.out"
	is_equal "$(status_of b role)" primary
	mount_side a
	wait_together
	both_equal
	has_content "$A/two" two
}

# ---- who is the primary

LIMIT_S[t_the_roles_are_changed_while_both_are_connected]=240
t_the_roles_are_changed_while_both_are_connected() {
	pair_up
	echo one >"$A/one"
	both_equal
	refused_a 'primary already' promote "$A"
	tw_b promote "$B" | grep -q 'both sides were in step'
	is_equal "$(status_of b role) $(status_of b generation)" "primary 2"
	within "$SOON_S" has_role a secondary
	is_equal "$(status_of a generation)" 2
	wait_together
	# The new primary decides: its version keeps the name.
	tw_b pause "$B"
	echo left >"$A/both"
	echo right >"$B/both"
	echo left >"$A/of-left"
	rm "$B/one"
	tw_b resume "$B"
	wait_together
	both_equal
	has_content "$B/both" right
	has_content "$(echo "$B"/both.conflict-left-*)" left
	[ ! -e "$A/one" ] && [ -e "$B/of-left" ]
	# And back, from a store that is not mounted.
	unmount_side a
	tw_a promote "$SA"
	is_equal "$(status_of a role) $(status_of a generation)" "primary 3"
	mount_side a
	within "$SOON_S" has_role b secondary
	wait_together
	tw_a conflicts "$A" --resolve /both --keep local
	both_equal
	has_content "$B/both" left
}
has_role() { [ "$(status_of "$1" role)" = "$2" ]; }

LIMIT_S[t_the_secondary_takes_over_and_the_old_primary_comes_back]=240
t_the_secondary_takes_over_and_the_old_primary_comes_back() {
	pair_up
	mkdir "$A/d"
	echo one >"$A/d/one"
	both_equal
	# The primary dies with something that it has not sent.
	link_cut_down
	wait_apart
	echo unsent >"$A/d/unsent"
	echo left >"$A/d/one"
	sync "$A/d/one" "$A/d/unsent"
	kill_side a
	tw_b promote "$B" | grep -q 'when left comes back it is the secondary'
	is_equal "$(status_of b role)" primary
	echo right >"$B/d/one"
	mv "$B/d" "$B/e"
	sync "$B/e/one"
	# So does the new one, before the other has heard of it.
	kill_side b
	mount_side b
	is_equal "$(status_of b role) $(status_of b generation)" "primary 2"
	mount_side a
	is_equal "$(status_of a role)" primary
	link_restore
	within "$SOON_S" has_role a secondary
	wait_together
	both_equal
	has_content "$A/e/one" right
	has_content "$(echo "$A"/e/one.conflict-left-*)" left
	has_content "$B/e/unsent" unsent
	[ ! -e "$A/d" ]
	# Nobody has to do anything, and it stays so.
	unmount_side a
	mount_side a
	wait_together
	is_equal "$(status_of a role) $(status_of b role)" "secondary primary"
	echo on >>"$A/e/unsent"
	both_equal
	unmount_side a
	unmount_side b
	tw_a fsck "$SA" >"$TMP/fsck"
	tw_b fsck "$SB" >"$TMP/fsck"
}
