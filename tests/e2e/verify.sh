# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# twinfs verify: that both sides have the same is found, and what they do not have alike is named.

rc_of() { local rc=0; "$@" >"$TMP/out" 2>"$TMP/err" || rc=$?; echo "$rc"; }

# verified SIDE: it finds no difference, says so in one line, and looked at all that is there.
verified() {
	local m
	m=$(mountpoint_of "$1")
	is_equal "$(rc_of tw "$1" verify "$m")" 0 "exit code of verify on $1, which said: $(cat "$TMP/out" "$TMP/err"); it"
	grep -qE "^$m: both sides have the same; [0-9]+ files and directories, [0-9]+ names, as of group [0-9]+ here and [0-9]+ at the peer$" \
		"$TMP/out" || fail "verify on $1 says: $(cat "$TMP/out")"
	is_equal "$(wc -l <"$TMP/out")" 1 "lines of verify on $1"
	is_equal "$(cat "$TMP/err")" '' "stderr of verify on $1"
	is_equal "$(status_of "$1" verify.differences)" 0 "differences in the status of $1"
}
# What verified just counted: "FILES NAMES".
counted() { sed -E 's/.*same; ([0-9]+) files.*, ([0-9]+) names.*/\1 \2/' "$TMP/out"; }
# The same of a mount, as anybody sees it; .twinfs is a directory that no listing has.
count_of() {
	echo "$(find "$1" "$1/.twinfs" -printf '%i\n' | sort -u | wc -l)" \
		"$(find "$1" "$1/.twinfs" -mindepth 1 -printf x | wc -c)"
}

# both_verified: and both are fine in all else.
both_verified() {
	verified a
	verified b
	is_equal "$(rc_of tw_a status "$A")" 0 "exit code of status on a, which said: $(cat "$TMP/out"); it"
	is_equal "$(rc_of tw_b status "$B")" 0 "exit code of status on b, which said: $(cat "$TMP/out"); it"
}

# differs SIDE LINE...: verify says just these lines (basic regular expressions, in the order of sort), and how many;
# the status remembers.
differs() {
	local side=$1 m line n=0
	shift
	m=$(mountpoint_of "$side")
	is_equal "$(rc_of tw "$side" verify "$m")" 1 "exit code of verify on $side, which said: $(cat "$TMP/out" "$TMP/err"); it"
	sort "$TMP/out" >"$TMP/lines"
	for line; do
		n=$((n + 1))
		sed -n "${n}p" "$TMP/lines" | grep -qx -- "$line" ||
			fail "line $n of verify on $side is not '$line': $(cat "$TMP/lines")"
	done
	is_equal "$(wc -l <"$TMP/lines")" "$n" "differences on $side: $(cat "$TMP/lines"); how many"
	is_equal "$(wc -l <"$TMP/err")" 1 "lines on stderr"
	grep -qE "^twinfs: $m: $n differences? from the peer, as of .*; nothing was mended: .* compare again" "$TMP/err" ||
		fail "stderr says: $(cat "$TMP/err")"
	is_equal "$(status_of "$side" verify.differences)" "$n" "differences in the status of $side"
	is_equal "$(rc_of tw "$side" status "$m")" 4 "exit code of status on $side"
	grep -qE "differs +$n differences? from the peer on 2" "$TMP/out" || fail "status of $side: $(cat "$TMP/out")"
}

# ino NAME: the file of that name, for SQL.
ino() { echo "(SELECT child FROM dentry WHERE name = $(blob "$1"))"; }
blob() { echo "x'$(printf %s "$1" | od -An -tx1 | tr -d ' \n')'"; }
# plant STATEMENT...: in side b's store, behind its back.
plant() {
	local statement
	unmount_side b
	for statement; do store_sql "$SB" "$statement"; done
	mount_side b
	wait_together
}

# A bit of everything: below $A, in step.
make_tree() {
	mkdir -p "$A/d/e" "$A/empty"
	head -c 300000 /dev/urandom >"$A/d/file"
	echo short >"$A/d/e/short"
	: >"$A/d/nothing"
	ln "$A/d/file" "$A/d/e/link"
	ln -s ../nowhere "$A/d/symlink"
	mkfifo "$A/d/fifo"
	setfattr -n user.tag -v "$(printf %3000s x)" "$A/d/file"
	setfattr -n user.of -v directory "$A/d"
	setfacl -m u:daemon:r "$A/d/e/short"
	chown daemon "$A/d/e"
	chmod 1777 "$A/empty"
	touch -d '1999-12-31 23:59:59.123456789' "$A/d/e/short"
	echo name >"$A/$(printf 'bad \377 name\n and more')"
	# Holes are not alike on both sides, their zeros are.
	truncate -s 3G "$A/d/holes"
	head -c 10000 /dev/urandom | dd of="$A/d/holes" bs=1M seek=1000 oflag=seek_bytes conv=notrunc status=none
	head -c 200000 /dev/zero >"$A/d/zeros"
	fallocate -p -o 4096 -l 8192 "$A/d/zeros"
	wait_synced
}

LIMIT_S[t_what_is_the_same_is_found_the_same_from_either_side]=150
t_what_is_the_same_is_found_the_same_from_either_side() {
	local last
	pair_up
	make_tree
	is_equal "$(status_of a verify.last) $(status_of b verify.differences)" "null null" "before the first one"
	verified a
	is_equal "$(counted)" "$(count_of "$A")" "files and names"
	is_equal "$(status_of b verify.last)" null "what b knows of what a asked"
	# A conflict, merges, and a side that was discarded leave copies, and what is kept in .twinfs.
	link_cut_down
	wait_apart
	echo left >"$A/d/e/short"
	echo right >"$B/d/e/short"
	rm "$A/d/nothing"
	mv "$B/d/file" "$B/empty/moved"
	link_restore
	wait_together
	ls "$A"/d/e/short.conflict-* >/dev/null
	verified b
	is_equal "$(counted)" "$(count_of "$B")" "files and names after a conflict"
	link_cut_down
	wait_apart
	echo left >"$A/d/fresh"
	echo discarded >"$B/d/other"
	tw_a resume "$A" --prefer local >/dev/null
	link_restore
	wait_together
	cat "$A"/.twinfs/discarded-right-*/d/other >/dev/null
	verified a
	is_equal "$(counted)" "$(count_of "$A")" "files and names with .twinfs"
	verified b
	# What is open and has no name is nobody's tree.
	exec 8>"$A/gone"
	echo text >&8
	rm "$A/gone"
	verified b
	exec 8>&-
	last=$(status_of a verify.last)
	unmount_side a
	is_equal "$(status_of a verify.last) $(status_of a verify.differences)" "$last 0" "when it is not mounted"
	mount_side a
	wait_together
	is_equal "$(status_of a verify.last) $(status_of a verify.differences)" "$last 0" "after mounting it again"
	# Both may ask at once.
	tw_b verify "$B" >"$TMP/out.b" 2>&1 &
	verified a
	wait $! || fail "of b, asked at the same time: $(cat "$TMP/out.b")"
	same_tree "$A" "$B"
}

t_nothing_is_held_for_one_that_is_over() {
	pair_up
	head -c 8000000 /dev/urandom >"$A/f"
	wait_synced
	verified a
	verified b
	head -c 8000000 /dev/urandom | dd of="$A/f" bs=1M conv=notrunc status=none
	wait_synced
	within "$SOON_S" holds_nothing a
	within "$SOON_S" holds_nothing b
}
holds_nothing() { [ "$(status_of "$1" baseline.bytes)" = 0 ]; }

# writes DIR TAG: a program that goes on until it is told to stop: files written, added to, replaced and removed.
writes() {
	python3 - "$1" "$2" <<'PY'
import os, sys, time
where, tag, n = sys.argv[1], sys.argv[2], 0
while not os.path.exists(os.environ["STOP_FILE"]):
    n += 1
    name = os.path.join(where, f"{tag}-{n % 20}")
    with open(name + ".new", "w") as f:
        f.write(f"{tag} {n}\n" * (n % 500))
    os.rename(name + ".new", name)
    with open(os.path.join(where, tag + ".log"), "a") as f:
        f.write(f"{n}\n")
    if n % 7 == 0:
        os.unlink(name)
    time.sleep(0.02)
PY
}

LIMIT_S[t_it_finds_nothing_while_programs_on_both_sides_go_on_writing]=200
t_it_finds_nothing_while_programs_on_both_sides_go_on_writing() {
	local left right before
	pair_up
	mkdir "$A/left" "$A/right" "$A/both"
	make_tree
	export STOP_FILE=$TMP/stop
	writes "$A/left" one &
	left=$!
	writes "$B/right" two &
	right=$!
	within "$SOON_S" test -s "$B/left/one.log" -a -s "$A/right/two.log"
	for _ in 1 2 3; do
		before=$(wc -l <"$A/left/one.log")
		verified a
		verified b
		[ "$(wc -l <"$A/left/one.log")" -gt "$before" ] || fail "nobody wrote meanwhile"
	done
	touch "$STOP_FILE"
	wait "$left" "$right"
	# Without a rest, in one folder, until after it was asked: then it waits for them.
	python3 "$E2E_HERE/storm.py" work "$A/both" left 1 6 "$TMP/kept.left" &
	left=$!
	python3 "$E2E_HERE/storm.py" work "$B/both" right 2 6 "$TMP/kept.right" &
	right=$!
	sleep 1
	verified a
	verified b
	wait "$left" "$right"
	both_equal
	verified a
	verified b
}

LIMIT_S[t_what_differs_is_named_on_both_sides_until_it_is_mended]=150
t_what_differs_is_named_on_both_sides_until_it_is_mended() {
	local f
	pair_up
	mkdir "$A/d"
	for f in bytes gone mode name owner same time twice xattr; do head -c 20000 /dev/urandom >"$A/d/$f"; done
	ln "$A/d/twice" "$A/d/two"
	ln -s right "$A/d/link"
	setfattr -n user.x -v right "$A/d/xattr"
	touch -d @1000000000.5 "$A/d/time"
	chmod 644 "$A/d/mode"
	tw_a policy "$A" set '*.x' text # policies are attributes of .twinfs
	both_equal
	both_verified
	plant "UPDATE inode SET mode = (mode & ~4095) | 384 WHERE ino = $(ino mode)" \
		"UPDATE inode SET mtime = mtime + 1 WHERE ino = $(ino time)" \
		"UPDATE inode SET uid = 7, gid = 8 WHERE ino = $(ino owner)" \
		"UPDATE inode SET target = $(blob wrong) WHERE ino = $(ino link)" \
		"UPDATE xattr SET value = $(blob wrong) WHERE ino = $(ino xattr)" \
		"UPDATE xattr SET value = $(blob newest) WHERE key = 'user.twinfs.policy.*.x'" \
		"UPDATE extent SET sums = zeroblob(length(sums)) WHERE ino = $(ino bytes)" \
		"UPDATE inode SET nlink = 1 WHERE ino = $(ino twice)" "DELETE FROM dentry WHERE name = $(blob two)" \
		"DELETE FROM extent WHERE ino = $(ino gone)" "DELETE FROM inode WHERE ino = $(ino gone)" \
		"DELETE FROM dentry WHERE name = $(blob gone)" \
		"UPDATE dentry SET name = $(blob other) WHERE name = $(blob name)"
	differs a '/.twinfs: xattrs differ' '/d/bytes: bytes differ' '/d/gone: is here alone' '/d/link: leads elsewhere' \
		'/d/mode: mode 0644 here, 0600 at the peer' '/d/name: is /d/other at the peer' \
		'/d/owner: owner 0:0 here, 7:8 at the peer' \
		'/d/time: written at 1000000000.500000000 here, 1000000000.500000001 at the peer' \
		'/d/two: is here alone' '/d/xattr: xattrs differ'
	differs b '/.twinfs: xattrs differ' '/d/bytes: bytes differ' '/d/gone: is at the peer alone' '/d/link: leads elsewhere' \
		'/d/mode: mode 0600 here, 0644 at the peer' '/d/other: is /d/name at the peer' \
		'/d/owner: owner 7:8 here, 0:0 at the peer' \
		'/d/time: written at 1000000000.500000001 here, 1000000000.500000000 at the peer' \
		'/d/two: is at the peer alone' '/d/xattr: xattrs differ'
	# Until it is mended, and asked again.
	unmount_side a
	is_equal "$(rc_of tw_a status "$SA")" 4 "exit code of status when it is not mounted"
	mount_side a
	wait_together
	is_equal "$(rc_of tw_a status "$A")" 4 "exit code of status after mounting it again"
	# As it says: a copy in its place, on the side that has it right.
	for f in bytes gone link mode owner time twice xattr; do
		cp -a "$A/d/$f" "$A/d/$f.new"
		mv "$A/d/$f.new" "$A/d/$f"
	done
	# Names and links by what everybody would do.
	rm "$A/d/two"
	ln "$A/d/twice" "$A/d/two"
	mv "$B/d/other" "$B/d/name"
	tw_a policy "$A" unset '*.x'
	both_equal
	both_verified
	has_content "$B/d/two" "$(cat "$A/d/twice")"
	tw_b scrub "$B" >"$TMP/out"
}

t_what_is_changed_where_it_is_wrong_is_mended_too() {
	pair_up
	mkdir "$A/d"
	echo text >"$A/d/mode"
	head -c 20000 /dev/urandom >"$A/d/bytes"
	touch -d @1000000000 "$A/d/time"
	both_equal
	plant "UPDATE inode SET mode = mode & ~4095 WHERE ino = $(ino mode)" \
		"UPDATE inode SET mtime = 0 WHERE ino = $(ino time)" \
		"UPDATE extent SET sums = zeroblob(length(sums)) WHERE ino = $(ino bytes)"
	differs b '/d/bytes: bytes differ' '/d/mode: mode 0000 here, .*' '/d/time: written at 0.0* here, .*'
	chmod 644 "$B/d/mode"
	touch -r "$A/d/time" "$B/d/time"
	cat "$A/d/bytes" >"$TMP/whole"
	cat "$TMP/whole" >"$B/d/bytes"
	both_equal
	both_verified
}

t_where_it_cannot_be_it_says_why_and_what_to_do() {
	single_up
	refused_a 'has no peer.*twinfs invite' verify "$A"
	refused_a '--repair is not available in this version; twinfs verify' verify "$A" --repair
	unmount_side a
	refused_a 'not mounted; mount it first' verify "$SA"
	is_equal "$(status_of a verify.last) $(status_of a verify.differences)" "null null" "after what was no comparison"
}

t_apart_there_is_nothing_to_compare() {
	pair_up
	echo text >"$A/f"
	both_equal
	verified a
	tw_a pause "$A"
	wait_state b paused
	refused_a 'paused.*twinfs resume' verify "$A"
	refused_b 'paused by left.*settle that on left' verify "$B"
	tw_a resume "$A"
	wait_together
	link_cut_down
	wait_apart
	refused_a 'disconnected.*again when' verify "$A"
	# What was found before is as it was.
	is_equal "$(status_of a verify.differences)" 0 "differences"
	link_restore
	wait_together
	both_verified
}

# in_the_middle: side b stands still, and a comparison that a asked for is neither at its beginning nor at its end.
in_the_middle() {
	local i state
	for ((i = 0; i < 3000; i++)); do
		kill -STOP "$PID_b"
		state=$(tw_a status "$A" --json | python3 -c '
import json, sys
v = json.load(sys.stdin)[0]["verify"]
print("middle" if 0 < v.get("done", 0) < v.get("total", 0) else "outside")')
		[ "$state" != middle ] || return 0
		kill -CONT "$PID_b"
		sleep 0.01
	done
	fail "it was never seen in the middle"
}

LIMIT_S[t_one_of_a_large_tree_says_how_far_it_is_and_ends_with_the_link]=240
t_one_of_a_large_tree_says_how_far_it_is_and_ends_with_the_link() {
	local run begun_s
	pair_up
	python3 - "$A" <<'PY'
import os, sys
for d in range(200):
    where = os.path.join(sys.argv[1], f"dir-{d}")
    os.mkdir(where)
    for n in range(100):
        with open(os.path.join(where, f"file-{n}"), "w") as f:
            f.write(f"{d} {n}\n")
PY
	wait_synced 120
	verified a
	is_equal "$(counted)" "20202 20200" "files and names"
	verified b
	# It says how far it is while it takes long; there is one at a time.
	script -qec "$TWINFS verify $A" "$TMP/seen" >/dev/null & # progress is for a terminal
	run=$!
	in_the_middle
	tw_a status "$A" | grep -qE 'verify +running: [0-9]+ of [0-9]+ inodes and names compared, .* left' || fail "$(tw_a status "$A")"
	refused_a 'under way already' verify "$A"
	sleep 1.5
	kill -CONT "$PID_b"
	wait "$run" || fail "$(cat "$TMP/seen")"
	grep -qE '[0-9]+ of [0-9]+ inodes and names compared.*; 0 differences' "$TMP/seen" || fail "no progress: $(cat "$TMP/seen")"
	# Who asked goes away.
	tw_a verify "$A" >"$TMP/out" 2>&1 &
	run=$!
	in_the_middle
	kill "$run"
	wait "$run" 2>/dev/null || true
	kill -CONT "$PID_b"
	within 20 can_verify a || fail "after one that was interrupted: $(cat "$TMP/err")"
	# The link goes down.
	tw_a verify "$A" >"$TMP/cut.out" 2>"$TMP/cut.err" &
	run=$!
	in_the_middle
	begun_s=$SECONDS
	link_cut_down
	within 20 gone "$run" || fail "it went on without the peer"
	kill -CONT "$PID_b"
	! wait "$run" || fail "it says that both are the same: $(cat "$TMP/cut.out")"
	note "ended after $((SECONDS - begun_s)) s: $(cat "$TMP/cut.err")"
	is_equal "$(wc -l <"$TMP/cut.err") $(wc -l <"$TMP/cut.out")" "1 0" "lines on stderr and stdout: $(cat "$TMP/cut.err"); how many"
	grep -q 'connection to the peer ended' "$TMP/cut.err" || fail "$(cat "$TMP/cut.err")"
	is_equal "$(status_of a verify.differences)" 0 "what the last whole one found"
	wait_apart
	link_restore
	wait_together
	verified b
	both_verified
}
can_verify() { [ "$(rc_of tw "$1" verify "$(mountpoint_of "$1")")" = 0 ]; }
