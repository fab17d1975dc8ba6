# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# Bad input: one clear line on stderr, an exit code that is not 0, and nothing changed.

# unchanged DIR CMD...: CMD (a refused_* call) leaves DIR as it was.
unchanged() {
	local dir=$1 before
	shift
	before=$(fingerprint "$dir")
	"$@"
	is_equal "$(fingerprint "$dir")" "$before" "fingerprint of $dir"
}

t_a_folder_that_is_no_store_is_refused() {
	mkdir "$SA"
	echo mine >"$SA/precious"
	unchanged "$SA" refused_a 'store' mount "$SA" "$A"
	unchanged "$SA" refused_a 'empty|store' init "$SA"
	refused_a 'store|no such' mount "$TMP/nothing" "$A"
	[ ! -e "$TMP/nothing" ] || fail "mount made a store"
	! is_mounted "$A" || fail "something is mounted"
}

t_a_foreign_database_is_refused() {
	STORE_DAMAGED=1
	tw_a init "$SA" >"$TMP/init.out"
	python3 -c '
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("create table cookies(x)")
db.commit()' "$TMP/foreign.db"
	rm -f "$SA"/twinfs.db*
	cp "$TMP/foreign.db" "$SA/twinfs.db"
	unchanged "$SA" refused_a 'twinfs' mount "$SA" "$A"
}

t_a_damaged_database_is_refused() {
	STORE_DAMAGED=1
	tw_a init "$SA" >"$TMP/init.out"
	rm -f "$SA"/twinfs.db-*
	head -c 8192 /dev/urandom | dd of="$SA/twinfs.db" conv=notrunc status=none
	unchanged "$SA" refused_a 'damaged|database|store|not' mount "$SA" "$A"
}

t_a_truncated_image_is_refused() {
	single_up
	head -c 3M /dev/urandom >"$A/data"
	sync "$A/data"
	unmount_side a
	truncate -s 4096 "$SA/image"
	unchanged "$SA" refused_a 'image' mount "$SA" "$A"
}

t_a_store_of_a_newer_version_is_refused() {
	STORE_DAMAGED=1
	tw_a init "$SA" >"$TMP/init.out"
	store_sql "$SA" "PRAGMA user_version = 1000"
	unchanged "$SA" refused_a 'newer|version' mount "$SA" "$A"
}

t_a_mountpoint_that_will_not_do_is_refused() {
	tw_a init "$SA" >"$TMP/init.out"
	refused_a 'no such|exist|mountpoint' mount "$SA" "$TMP/nothing"
	echo x >"$TMP/file"
	refused_a 'director|mountpoint' mount "$SA" "$TMP/file"
	mkdir "$TMP/full"
	echo x >"$TMP/full/f"
	refused_a 'empty' mount "$SA" "$TMP/full"
	has_content "$TMP/full/f" x
	mkdir "$TMP/busy"
	mount -t tmpfs none "$TMP/busy"
	local rc=0
	(refused_a 'mount|use' mount "$SA" "$TMP/busy") || rc=$?
	umount "$TMP/busy"
	is_equal "$rc" 0 "refusal of a mountpoint in use"
}

t_a_store_is_mounted_once_only() {
	single_up
	mkdir "$TMP/second"
	refused_a 'already|mounted|in use' mount "$SA" "$TMP/second"
	echo ok >"$A/still-works"
	has_content "$A/still-works" ok
	refused_a 'mounted' fsck "$SA"
}

t_init_does_not_touch_a_store_that_is_there() {
	tw_a init "$SA" >"$TMP/init.out"
	unchanged "$SA" refused_a 'store|exist|empty' init "$SA"
}

t_what_failed_and_what_is_waited_for_is_said_as_it_is() {
	local long
	long=$(head -c 100000 /dev/zero | tr '\0' r)
	pair_up
	refused_a 'at most 64 KiB' pause "$A" --reason "$long"
	has_state a connected || fail "paused though it was refused"
	tw_a pause "$A" >"$TMP/o"
	is_equal "$(status_of a peer.last_error)" null "error of a pause that is wanted"
	tw_a resume "$A" >"$TMP/o"
	wait_together
	is_equal "$(status_of a peer.last_error)" null "error after it"
	link_cut_down
	wait_apart
	refused_a 'is not in step after 1 s: disconnected: ' wait "$A" --timeout 1
}

# A backup of a store, put back: whichever side is asked, it says whose store is old.
LIMIT_S[t_a_store_put_back_from_an_old_copy_is_named_on_both_sides]=120
t_a_store_put_back_from_an_old_copy_is_named_on_both_sides() {
	local side s
	pair_up
	for side in a b; do
		unmount_side "$side"
		cp -a "$(store_of "$side")" "$TMP/old"
		mount_side "$side"
		wait_together
		echo "$side" >"$A/from_a"
		echo "$side" >"$B/from_b"
		wait_synced
		unmount_side "$side"
		mv "$(store_of "$side")" "$TMP/new"
		mv "$TMP/old" "$(store_of "$side")"
		mount_side "$side"
		for s in a b; do
			wait_state $s disconnected
			within 20 says_old $s "$([ "$side" = a ] && echo left || echo right)"
		done
		unmount_side "$side"
		rm -r "$(store_of "$side")"
		mv "$TMP/new" "$(store_of "$side")"
		mount_side "$side"
		wait_together
		both_equal
	done
}
says_old() { [[ $(status_of "$1" why) == *"the store of $2 "*copy* ]] && [[ $(status_of "$1" why) != *"this store"* ]]; }

t_wrong_usage_exits_2_with_a_hint() {
	local rc=0
	tw_a mount >"$TMP/o" 2>&1 || rc=$?
	is_equal "$rc" 2 "exit code"
	rc=0
	tw_a nonsense >"$TMP/o" 2>&1 || rc=$?
	is_equal "$rc" 2 "exit code"
	tw_a --help >/dev/null
	tw_a mount --help >/dev/null
	refused_a 'size' init "$SA" --size lots
	[ ! -e "$SA" ] || fail "a store was made in spite of a bad size"
}

t_a_garbled_token_is_refused() {
	refused_b 'token' join not-a-token "$SB"
	tw_a init "$SA" >"$TMP/init.out"
	local token
	token=$(tw_a invite "$SA" --listen "$ADDR_A:$PORT")
	mount_side a
	refused_b 'token' join "${token:0:-3}" "$SB"
	refused_b 'token' join "${token}x" "$SB"
	[ ! -e "$SB/twinfs.db" ] || [ "$(status_of b role)" = none ] || fail "half a pair was made"
}

t_a_token_with_a_wrong_secret_is_refused() {
	tw_a init "$SA" >"$TMP/init.out"
	local one two
	one=$(tw_a invite "$SA" --listen "$ADDR_A:$PORT")
	mkdir "$E2E_DIR/other"
	tw_a init "$E2E_DIR/other/s" >"$TMP/init.out"
	two=$(tw_a invite "$E2E_DIR/other/s" --listen "$ADDR_A:$PORT")
	[ "$one" != "$two" ]
	mount_side a
	refused_b 'token|invit|pair|certificate|peer' join "$two" "$SB"
	# and the right one still works
	tw_b join "$one" "$SB"
}

t_a_used_token_is_refused() {
	pair_up
	local token
	token=$(tw_a invite "$SA" 2>/dev/null) && fail "a paired store invites another"
	unmount_side b
	mv "$SB" "$SB.old"
	refused_b 'token|pair|invit|used' join "$(cat "$TMP/token")" "$SB"
}

t_an_unreachable_primary_is_named() {
	tw_a init "$SA" >"$TMP/init.out"
	local token
	token=$(tw_a invite "$SA" --listen "$ADDR_A:$PORT")
	# nobody listens
	refused_b "$ADDR_A.*mounted.*new token" join "$token" "$SB"
	# nobody answers
	link_cut_drop
	refused_b "$ADDR_A" join "$token" "$SB"
}

t_commands_on_what_is_no_store_say_so() {
	local c
	for c in status invite fsck conflicts wait; do
		refused_a 'store|mount|no such' "$c" "$TMP"
	done
	tw_a init "$SA" >"$TMP/init.out"
	refused_a 'mounted' pause "$SA"
}

t_a_stranger_on_the_port_disturbs_nobody() {
	pair_up
	ns_b bash -c 'head -c 100000 /dev/urandom >/dev/tcp/$0/$1' "$ADDR_A" "$PORT" 2>/dev/null || true
	ns_b openssl s_client -connect "$ADDR_A:$PORT" -alpn h2 </dev/null >"$TMP/s_client" 2>&1 || true
	echo x >"$A/after"
	both_equal
}

# A daemon that is at its end takes nothing down but its own: its mountpoint is free for another store before that.
t_a_daemon_that_ends_leaves_the_next_mount_at_its_place_alone() {
	local old
	single_up
	old=$(pid_of a)
	tw_a init "$TMP/other" --name other >/dev/null
	kill -STOP "$old"
	fusermount3 -uz "$A"
	tw_a mount "$TMP/other" "$A"
	kill -CONT "$old"
	within 20 gone "$old"
	is_mounted "$A" || fail "the next mount was taken down"
	echo there >"$A/file"
	fusermount3 -u "$A"
}

# The port of a store that was unmounted a moment ago is still in use for a moment.
t_a_mount_waits_for_its_port_while_the_last_one_ends() {
	local held
	single_up
	tw_a invite "$A" --listen "$ADDR_A:$PORT" >/dev/null
	unmount_side a
	ns_a timeout 1.5 python3 -c "
import socket, time
s = socket.socket()
s.bind(('$ADDR_A', $PORT))
s.listen()
print('held', flush=True)
time.sleep(60)" >"$TMP/held" &
	held=$!
	within 10 grep -q held "$TMP/held"
	tw_a mount "$SA" "$A"
	wait "$held" || true
	fusermount3 -u "$A"
}
