# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# Damage: what twinfs scrub and twinfs fsck say of stores that are whole and of stores that are not.

# lose_block STORE TEXT: flip a bit behind each place of the image where TEXT is (those that are free do no harm).
lose_block() {
	python3 - "$1/image" "$2" <<'PY'
import mmap, sys
with open(sys.argv[1], 'r+b') as f, mmap.mmap(f.fileno(), 0) as m:
    at = m.find(sys.argv[2].encode())
    assert at > 0, 'not in the image'
    while at > 0:
        m[at + 40] ^= 4
        at = m.find(sys.argv[2].encode(), at + 1)
PY
}
# marked FILE TEXT: four blocks, the third of which has TEXT in it.
marked() {
	{ head -c 8192 /dev/zero | tr '\0' x; printf %s "$2"; head -c 8000 /dev/zero | tr '\0' y; } >"$1"
	sync "$1"
}
rc_of() { local rc=0; "$@" >"$TMP/out" 2>"$TMP/err" || rc=$?; echo "$rc"; }

t_scrub_of_a_whole_store_says_so_mounted_or_not() {
	single_up
	is_equal "$(status_of a scrub.last)" null "before the first scrub"
	marked "$A/f" 'the first text'
	ln "$A/f" "$A/g"
	truncate -s 1G "$A/holes"
	tw_a scrub "$A" >"$TMP/out"
	grep -q "^$A: every block is what was written; .* read" "$TMP/out" || fail "$(cat "$TMP/out")"
	is_equal "$(status_of a scrub.differences)" 0 "differences"
	[ "$(status_of a scrub.last)" != null ]
	unmount_side a
	tw_a scrub "$SA" >"$TMP/out"
	grep -q 'every block' "$TMP/out"
	tw_a fsck "$SA" | grep -q ': whole; '
}

t_fsck_right_after_an_unmount_waits_for_it_to_end() {
	local i
	pair_up
	for i in 1 2 3; do
		head -c 30000000 /dev/urandom >"$A/f$i"
		fusermount3 -u "$A"
		tw_a fsck "$SA" >"$TMP/out" 2>"$TMP/err" || fail "$(cat "$TMP/err")"
		grep -q ': whole; ' "$TMP/out" || fail "$(cat "$TMP/out")"
		mount_side a
	done
}

t_scrub_names_what_is_damaged_until_it_is_written_anew() {
	pair_up
	mkdir "$A/d"
	marked "$A/d/f" 'a text that the disk will lose'
	echo other >"$A/other"
	wait_synced
	cp "$A/d/f" "$TMP/whole"
	lose_block "$SA" 'a text that the disk will lose'
	lose_block "$SB" 'a text that the disk will lose'
	is_equal "$(rc_of tw_a scrub "$A")" 1 "exit code of scrub"
	is_equal "$(cat "$TMP/out")" '/d/f: byte 8192: is not what was written' "what scrub says"
	grep -q 'damaged, and the peer was not there or did not have them' "$TMP/err" || fail "$(cat "$TMP/err")"
	is_equal "$(status_of a scrub.differences)" 1 "differences"
	is_equal "$(rc_of tw_a status "$A")" 4 "exit code of status"
	grep -q '1 damaged block' "$TMP/out" || fail "$(cat "$TMP/out")"
	# Nobody gets wrong bytes, and all else is there.
	! dd if="$A/d/f" bs=4096 skip=2 count=1 iflag=direct of=/dev/null 2>/dev/null || fail "the lost block was read"
	has_content "$A/other" other
	echo more >"$A/more"
	wait_synced
	has_content "$B/more" more
	cat "$TMP/whole" >"$A/d/f"
	both_equal
	tw_a scrub "$A" >"$TMP/out"
	is_equal "$(status_of a scrub.differences)" 0 "differences"
	is_equal "$(rc_of tw_a status "$A")" 0 "exit code of status"
}

t_a_damaged_block_is_healed_from_the_peer() {
	pair_up
	mkdir "$A/d"
	marked "$A/d/f" 'a text that is read when it is lost'
	marked "$A/d/g" 'a text that is scrubbed when it is lost'
	wait_synced
	cp -r "$B/d" "$TMP/whole"
	lose_block "$SA" 'a text that is read when it is lost'
	lose_block "$SB" 'a text that is scrubbed when it is lost'
	dd if="$A/d/f" bs=4096 skip=2 count=1 iflag=direct of="$TMP/read" 2>/dev/null || fail "what the peer has is refused"
	cmp "$TMP/read" <(dd if="$TMP/whole/f" bs=4096 skip=2 count=1 2>/dev/null)
	is_equal "$(rc_of tw_b scrub "$B")" 0 "exit code of scrub, which said: $(cat "$TMP/out" "$TMP/err"); it"
	is_equal "$(head -1 "$TMP/out")" '/d/g: byte 8192: is not what was written; healed from the peer' "what scrub says"
	is_equal "$(status_of b scrub.differences)" 0 "differences"
	link_cut_down
	wait_apart
	is_equal "$(rc_of tw_a scrub "$A")" 0 "exit code of scrub with nobody to ask"
	is_equal "$(rc_of tw_b scrub "$B")" 0 "exit code of scrub with nobody to ask"
	link_restore
	wait_together
	diff -r "$A/d" "$TMP/whole"
	both_equal
}

t_scrub_reads_old_versions_too() {
	pair_up
	marked "$A/f" 'an old version that is kept'
	wait_synced
	link_cut_down
	wait_apart
	marked "$A/f" 'the new version'
	lose_block "$SA" 'an old version that is kept'
	is_equal "$(rc_of tw_a scrub "$A")" 1 "exit code of scrub"
	is_equal "$(cat "$TMP/out")" '/f: byte 8192 of an old version: is not what was written' "what scrub says"
	link_restore
	wait_together
	both_equal
	tw_a scrub "$A"
}

t_scrub_says_how_far_it_is_and_can_be_interrupted() {
	local scrub
	single_up
	head -c 200M /dev/urandom >"$A/big"
	sync "$A/big"
	# The program is stopped for longer than the second after which it speaks.
	script -qec "$TWINFS scrub $A" "$TMP/err" >/dev/null & # progress is for a terminal
	scrub=$!
	sleep 0.2
	kill -STOP "$PID_a"
	sleep 1.3
	kill -CONT "$PID_a"
	wait "$scrub"
	grep -qE '[0-9]+ of 20[0-9] MiB read, [0-9]+ MiB/s.*; 0 damaged' "$TMP/err" ||
		fail "no progress: $(cat "$TMP/err")"
	"$TWINFS" scrub "$A" >"$TMP/out" 2>&1 &
	scrub=$!
	sleep 0.2
	kill -STOP "$PID_a"
	kill "$scrub"
	sleep 1.3
	kill -CONT "$PID_a"
	wait "$scrub" 2>/dev/null || true
	within 20 scrubs || fail "after one that was interrupted: $(cat "$TMP/err")"
}
scrubs() { [ "$(rc_of tw_a scrub "$A")" = 0 ]; }

# fsck_finds STATEMENT PATTERN: the statement breaks a copy of the store; fsck finds it, and leaves the store as it is.
fsck_finds() {
	local before
	rm -rf "$TMP/broken"
	cp -a "$SA" "$TMP/broken"
	store_sql "$TMP/broken" "$1"
	before=$(fingerprint "$TMP/broken")
	is_equal "$(rc_of tw_a fsck "$TMP/broken")" 1 "exit code of fsck after: $1"
	grep -qE "$2" "$TMP/out" || fail "after $1 fsck says: $(cat "$TMP/out" "$TMP/err")"
	grep -qE 'is damaged in [0-9]+ places' "$TMP/err" || fail "$(cat "$TMP/err")"
	is_equal "$(fingerprint "$TMP/broken")" "$before" "the store after fsck"
}

t_fsck_finds_what_is_broken_and_changes_nothing() {
	single_up
	mkdir "$A/d"
	marked "$A/d/f" 'some text'
	marked "$A/g" 'some other text'
	unmount_side a
	fsck_finds "UPDATE inode SET size = -1 WHERE mode = 33188 AND size > 0" 'inode.*size is possible'
	fsck_finds "UPDATE dentry SET parent = 77 WHERE name = x'66'" 'directory that is there'
	fsck_finds "UPDATE extent SET phys = (SELECT min(phys) FROM extent)" 'owner'
	fsck_finds "UPDATE extent SET sums = zeroblob(length(sums)) WHERE ino =
		(SELECT child FROM dentry WHERE name = x'66')" '/d/f.*(checksum|not what)'
	cp -a "$SA" "$TMP/short"
	truncate -s 8192 "$TMP/short/image"
	is_equal "$(rc_of tw_a fsck "$TMP/short")" 1 "exit code of fsck without blocks"
	is_equal "$(rc_of tw_a scrub "$TMP/short")" 1 "exit code of scrub without blocks"
	cp -a "$SA" "$TMP/rubbish"
	head -c 100000 /dev/urandom >"$TMP/rubbish/twinfs.db"
	refused_a 'damaged|not a twinfs' fsck "$TMP/rubbish"
	refused_a 'damaged|not a twinfs' mount "$TMP/rubbish" "$A"
	tw_a fsck "$SA"
	script -qec "$TWINFS fsck $SA" "$TMP/seen" >/dev/null # progress is for a terminal
	grep -qE 'tables: [0-9]+ %, [0-9]+ .* left' "$TMP/seen" || fail "no progress: $(cat "$TMP/seen")"
}

# flip FILE OFFSET: one bit of a byte; again, and it is as it was
flip() {
	python3 -c '
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2]))
    byte = f.read(1)[0]
    f.seek(int(sys.argv[2]))
    f.write(bytes([byte ^ 4]))' "$1" "$2"
}

# fsck_says PATTERN: fsck of side a's store, which fails.
fsck_says() {
	is_equal "$(rc_of tw_a fsck "$SA")" 1 "exit code of fsck"
	grep -qE "$1" "$TMP/out" || fail "fsck says nothing of '$1': $(cat "$TMP/out" "$TMP/err")"
}

t_a_changed_byte_of_the_database_is_found_and_no_answer_to_anyone() {
	local page pages said
	STORE_DAMAGED=1
	single_up
	mkdir "$A/d"
	marked "$A/d/f" 'some text'
	unmount_side a
	pages=$(($(stat -c %s "$SA/twinfs.db") / 4096))
	for ((page = 0; page < pages; page += 3)); do
		flip "$SA/twinfs.db" $((page * 4096 + (page * 977) % 4096))
		fsck_says "twinfs.db, page $((page + 1)): not what was written"
		flip "$SA/twinfs.db" $((page * 4096 + (page * 977) % 4096))
	done
	tw_a fsck "$SA" >"$TMP/out"
	flip "$SA/twinfs.db" 77
	refused_a 'damaged' mount "$SA" "$A"
	flip "$SA/twinfs.db" 77
	# The page of the names: a mount, and what is asked of it, fail with a line that says which.
	page=$(python3 -c '
import sqlite3, sys
db = sqlite3.connect("file:" + sys.argv[1] + "?mode=ro", uri=True)
print(db.execute("select rootpage from sqlite_schema where name = ?", ("dentry_name",)).fetchone()[0])' "$SA/twinfs.db")
	flip "$SA/twinfs.db" $(((page - 1) * 4096 + 4000))
	said=$(tw_a mount "$SA" "$A" 2>&1 && cat "$A/d/f" 2>&1) && fail "d/f is read: $said"
	grep -q "page $page is not what was written" "$SA/twinfs.log" <(echo "$said") 2>/dev/null ||
		fail "nobody says which page: $said"
	! is_mounted "$A" || unmount_side a
}

t_fsck_looks_at_the_key_too() {
	STORE_DAMAGED=1
	tw_a init "$SA" >"$TMP/init.out"
	tw_a init "$TMP/other" >"$TMP/init.out"
	tw_a fsck "$SA" >"$TMP/out"
	chmod 644 "$SA/node.key"
	fsck_says 'node.key can be read by other users'
	chmod 600 "$SA/node.key"
	mv "$SA/node.crt" "$TMP/kept.crt"
	fsck_says 'node.crt is missing'
	cp "$TMP/other/node.crt" "$SA/node.crt"
	fsck_says 'node.crt does not belong to'
	cp "$TMP/kept.crt" "$SA/node.crt"
	flip "$SA/node.crt" 380 # of the signature
	fsck_says 'node.crt is damaged'
	cp "$TMP/kept.crt" "$SA/node.crt"
	mv "$SA/node.key" "$TMP/kept.key"
	fsck_says 'node.key is missing'
	cp "$TMP/kept.key" "$SA/node.key"
	flip "$SA/node.key" 100
	fsck_says 'node.key is damaged'
	cp "$TMP/kept.key" "$SA/node.key"
	tw_a fsck "$SA" >"$TMP/out"
}
