# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# What people write as the address of the primary, and what becomes of a pair when it changes.

# v6_up: an address of IPv6 on each side, usable at once.
v6_up() {
	ip -n "$NS_A" addr add fd77::1/64 dev link0 nodad
	ip -n "$NS_B" addr add fd77::2/64 dev link0 nodad
}

# pair_at LISTEN: as pair_up, at another address.
pair_at() {
	local token
	tw_a init "$SA" --name left >"$TMP/init.out"
	token=$(tw_a invite "$SA" --listen "$1")
	mount_side a
	tw_b join "$token" "$SB" --name right >"$TMP/join.out"
	mount_side b
	wait_together
}

t_a_pair_over_ipv6_survives_a_cut() {
	v6_up
	pair_at "[fd77::1]:$PORT"
	is_equal "$(status_of b peer.address)" "[fd77::1]:$PORT" "address of the peer"
	echo one >"$A/left"
	echo two >"$B/right"
	both_equal
	link_cut_drop
	wait_apart
	echo three >"$A/left"
	echo four >"$B/right"
	link_restore
	wait_together
	both_equal
	has_content "$B/left" three
	has_content "$A/right" four
}

t_a_primary_that_listens_everywhere_hears_both_families() {
	v6_up
	pair_at "[::]:$PORT"
	echo one >"$A/f"
	both_equal
}

t_an_invitation_for_every_address_names_one_of_ipv6_where_there_is_no_other() {
	local token
	v6_up
	ip -n "$NS_A" addr del "$ADDR_A/30" dev link0
	tw_a init "$SA" --name left >"$TMP/init.out"
	token=$(tw_a invite "$SA")
	mount_side a
	tw_b join "$token" "$SB" --name right >"$TMP/join.out"
	is_equal "$(tw_b address "$SB")" "finds the peer at [fd77::1]:7440"
}

# moved: side a has another address from now on.
moved() {
	ip -n "$NS_A" addr del "$ADDR_A/30" dev link0
	ip -n "$NS_A" addr add 10.178.0.1/24 dev link0
	ip -n "$NS_B" addr add 10.178.0.2/24 dev link0
}

t_a_machine_that_moved_is_found_again_at_the_address_that_it_is_given() {
	pair_up
	echo one >"$A/f"
	both_equal
	moved
	wait_apart
	echo two >"$A/f"
	echo three >"$B/g"
	is_equal "$(tw_a address "$A" 10.178.0.1:7441)" "listens on 10.178.0.1:7441"
	is_equal "$(tw_b address "$B" 10.178.0.1:7441)" "finds the peer at 10.178.0.1:7441"
	wait_together
	both_equal
	has_content "$B/f" two
	# and after a mount too, one told while it is not mounted
	unmount_side b
	tw_a address "$A" :7442 >"$TMP/out"
	tw_b address "$SB" 10.178.0.1:7442 >"$TMP/out"
	mount_side b
	wait_together
	is_equal "$(status_of b peer.address)" 10.178.0.1:7442
}

t_where_and_when_the_peer_was_seen_is_known_after_another_mount() {
	local side
	pair_up
	sleep 2 # it is written within a second
	for side in a b; do kill_side "$side"; done
	for side in a b; do
		[[ $(status_of "$side" peer.last_seen) == 20*Z ]] || fail "$side does not know when the peer was seen"
	done
	mount_side a
	[[ $(status_of a peer.last_seen) == 20*Z ]] || fail "a forgot when the peer was seen"
	[[ $(status_of a peer.address) == "$ADDR_B":* ]] || fail "a forgot where the peer was: $(status_of a peer.address)"
	tw_a forget-peer "$A" >"$TMP/out"
	is_equal "$(status_of a peer)" null
}

t_an_address_that_is_no_good_changes_nothing() {
	pair_up
	refused_a 'cannot listen on 10.99.99.99' address "$A" 10.99.99.99:7440
	refused_a 'is not an address' address "$A" 'a b'
	refused_b 'no place where the peer could be' address "$B" '[::]:7440'
	refused_b 'no place where the peer could be' address "$B" '*:7440'
	is_equal "$(tw_a address "$A")" "listens on $ADDR_A:$PORT"
	is_equal "$(tw_b address "$B")" "finds the peer at $ADDR_A:$PORT"
	wait_together
	echo one >"$A/f"
	both_equal
	tw_a init "$TMP/alone" --name alone >"$TMP/init.out"
	is_equal "$(tw_a address "$TMP/alone")" "has no peer, and listens nowhere"
	refused_a 'neither a peer nor an invitation' address "$TMP/alone" :7440
}

t_where_the_peer_is_is_known_from_the_moment_it_joins() {
	local token
	tw_a init "$SA" --name left >/dev/null
	token=$(tw_a invite "$SA" --listen "$ADDR_A:$PORT")
	mount_side a
	tw_b join "$token" "$SB" --name right >"$TMP/out"
	is_equal "$(status_of b peer.address)" "$ADDR_A:$PORT"
	[[ $(status_of a peer.address) == "$ADDR_B":* ]] || fail "a does not know who joined: $(status_of a peer.address)"
	[[ $(status_of a peer.last_seen) == 20*Z ]] || fail "a does not know when it was there"
	sleep 2 # it is written within a second
	kill_side a
	[[ $(status_of a peer.address) == "$ADDR_B":* ]] || fail "a forgot who joined: $(status_of a peer.address)"
}
