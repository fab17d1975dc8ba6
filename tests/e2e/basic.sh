# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# One folder on two machines: what the issue asks for, with real mounts and a link that can be cut.

t_files_written_on_either_side_appear_on_the_other() {
	pair_up
	echo hello >"$A/from-left"
	mkdir "$B/dir"
	echo world >"$B/dir/from-right"
	both_equal
	has_content "$B/from-left" hello
	has_content "$A/dir/from-right" world
	is_equal "$(stat -c %i "$A/from-left")" "$(stat -c %i "$B/from-left")" "inode numbers"
}

t_every_kind_of_change_appears_on_the_other_side() {
	pair_up
	mkdir -p "$A/d/e"
	echo one >"$A/d/e/f"
	ln "$A/d/e/f" "$A/hard"
	ln -s d/e/f "$A/soft"
	mkfifo "$A/fifo"
	setfattr -n user.colour -v red "$A/hard"
	chmod 4750 "$A/hard"
	chown 1234:5678 "$A/hard"
	touch -d '2001-02-03 04:05:06.789012345' "$A/d"
	truncate -s 1M "$A/sparse"
	both_equal
	mv "$B/d/e" "$B/moved"
	rm "$B/soft"
	setfattr -x user.colour "$B/hard"
	echo two >>"$B/moved/f"
	truncate -s 10 "$B/sparse"
	both_equal
	has_content "$A/hard" $'one\ntwo'
	[ ! -e "$A/d/e" ] && [ ! -L "$A/soft" ]
}

LIMIT_S[t_a_copy_of_usr_include_appears_on_the_other_side]=150
t_a_copy_of_usr_include_appears_on_the_other_side() {
	pair_up
	cp -a /usr/include "$A/include"
	both_equal 100
	diff -r --no-dereference /usr/include "$B/include"
}

LIMIT_S[t_a_big_file_crosses]=180
t_a_big_file_crosses() {
	local mib=1024
	[ -z "${QUICK:-}" ] || mib=256
	pair_up
	# Bytes that neither compress nor repeat
	openssl enc -aes-128-ctr -pass pass:x -nosalt -md sha256 </dev/zero 2>/dev/null |
		head -c $((mib << 20)) | tee "$A/big" | sha256sum >"$TMP/sum"
	wait_synced 150
	is_equal "$(sha256sum <"$B/big")" "$(cat "$TMP/sum")" "content"
}

LIMIT_S[t_a_git_repository_lives_on_both_sides]=150
t_a_git_repository_lives_on_both_sides() {
	local i
	pair_up
	git init -q "$A/repo"
	for i in $(seq 60); do
		seq "$i" $((i * 50)) >"$A/repo/file$((i % 7))"
		git -C "$A/repo" add .
		git -C "$A/repo" commit -q -m "change $i"
	done
	git -C "$A/repo" gc -q
	both_equal 100
	git -C "$B/repo" fsck --strict
	is_equal "$(git -C "$B/repo" log --oneline | wc -l)" 60 "commits"
	is_equal "$(git -C "$B/repo" status --porcelain)" "" "git status"
	git -C "$B/repo" commit -q --allow-empty -m "from the right"
	git -C "$B/repo" gc -q
	both_equal 60
	git -C "$A/repo" fsck --strict
	is_equal "$(git -C "$A/repo" log -1 --format=%s)" "from the right" "last commit"
}

# ---- the link goes down

# Changes on both sides that do not touch the same thing; CUT is the function that cuts.
disjoint_changes_meet_after() {
	local cut=$1
	pair_up
	mkdir "$A/old" "$A/both"
	seq 1000 >"$A/old/edited-left"
	seq 2000 >"$A/old/edited-right"
	echo x >"$A/old/removed-left"
	echo x >"$A/old/moved-right"
	both_equal
	"$cut"
	wait_apart
	echo left >>"$A/old/edited-left"
	rm "$A/old/removed-left"
	echo new >"$A/both/by-left"
	mkdir -p "$A/deep/er" && echo l >"$A/deep/er/file"
	echo right >>"$B/old/edited-right"
	mv "$B/old/moved-right" "$B/both/moved"
	echo new >"$B/both/by-right"
	link_restore
	wait_together
	same_tree "$A" "$B"
	is_equal "$(tail -n 1 "$B/old/edited-left")" left
	is_equal "$(tail -n 1 "$A/old/edited-right")" right
	[ ! -e "$B/old/removed-left" ] && [ ! -e "$A/old/moved-right" ]
	has_content "$A/both/moved" x
	has_content "$B/both/by-left" new
	has_content "$A/both/by-right" new
	has_content "$B/deep/er/file" l
	is_equal "$(conflicts_of a | jq_length)" 0 "conflicts"
}
jq_length() { python3 -c 'import json,sys; print(len(json.load(sys.stdin)))'; }

LIMIT_S[t_after_the_cable_was_pulled_both_trees_are_equal]=200
t_after_the_cable_was_pulled_both_trees_are_equal() { disjoint_changes_meet_after link_cut_down; }

LIMIT_S[t_after_packets_were_dropped_both_trees_are_equal]=200
t_after_packets_were_dropped_both_trees_are_equal() { disjoint_changes_meet_after link_cut_drop; }

LIMIT_S[t_cut_in_the_middle_of_a_copy_nothing_is_lost]=240
t_cut_in_the_middle_of_a_copy_nothing_is_lost() {
	local copier
	pair_up
	cp -a /usr/include "$A/include" &
	copier=$!
	within 20 test -e "$B/include"
	link_cut_drop
	wait "$copier"
	echo meanwhile >"$B/note"
	wait_apart
	link_restore
	wait_together 150
	same_tree "$A" "$B"
	diff -r --no-dereference /usr/include "$B/include"
	has_content "$A/note" meanwhile
}

LIMIT_S[t_the_same_file_changed_on_both_sides_keeps_both_versions]=200
t_the_same_file_changed_on_both_sides_keeps_both_versions() {
	pair_up
	echo base >"$A/report.txt"
	both_equal
	link_cut_drop
	wait_apart
	echo "the left version" >"$A/report.txt"
	echo "the right version" >"$B/report.txt"
	link_restore
	wait_together
	same_tree "$A" "$B"
	local side m
	for side in a b; do
		m=$(mountpoint_of "$side")
		grep -qx "the left version" "$m"/report*.txt || fail "left's version is not on side $side"
		grep -qx "the right version" "$m"/report*.txt || fail "right's version is not on side $side"
		is_equal "$(find "$m" -name 'report.conflict-*-*-*.txt' | wc -l)" 1 "copies on side $side"
		conflicts_of "$side" | python3 -c '
import json, os, sys
found = [c for c in json.load(sys.stdin) if c["path"].lstrip("/") == "report.txt"]
assert len(found) == 1, found
c = found[0]
assert c["kind"] == "content" and c["outcome"] == "kept-both" and c["resolved"] is False, c
assert sorted(v["node"] for v in c["versions"]) == ["left", "right"], c
for v in c["versions"]:
    text = open(os.path.join(sys.argv[1], v["path"].lstrip("/"))).read()
    assert text == "the %s version\n" % v["node"], (v, text)' "$m"
	done
	is_equal "$(status_of a conflicts)" 1 "conflicts in status"
}

LIMIT_S[t_a_file_changed_here_and_removed_there_is_not_lost]=200
t_a_file_changed_here_and_removed_there_is_not_lost() {
	pair_up
	echo base >"$A/one"
	mkdir "$A/dir"
	echo base >"$A/dir/two"
	both_equal
	link_cut_down
	wait_apart
	rm "$A/one"
	echo edited >"$B/one"
	echo edited >"$A/dir/two"
	rm -r "$B/dir"
	link_restore
	wait_together
	same_tree "$A" "$B"
	grep -rqx edited "$A" || fail "the edited file is gone"
	is_equal "$(grep -rlx edited "$A" | wc -l)" 2 "edited files"
}

LIMIT_S[t_the_same_name_made_on_both_sides_keeps_both]=200
t_the_same_name_made_on_both_sides_keeps_both() {
	pair_up
	link_cut_drop
	wait_apart
	echo left >"$A/new.txt"
	echo right >"$B/new.txt"
	mkdir "$A/dir" "$B/dir"
	echo left >"$A/dir/l"
	echo right >"$B/dir/r"
	link_restore
	wait_together
	same_tree "$A" "$B"
	grep -rqx left "$B" --include='new*.txt' && grep -rqx right "$A" --include='new*.txt'
	is_equal "$(grep -rlx -e left -e right "$A" | wc -l)" 4 "files"
}

LIMIT_S[t_a_person_decides_a_conflict]=200
t_a_person_decides_a_conflict() {
	pair_up
	echo base >"$A/f.txt"
	both_equal
	link_cut_drop
	wait_apart
	echo left >"$A/f.txt"
	echo right >"$B/f.txt"
	link_restore
	wait_together
	tw_a conflicts "$A" --resolve f.txt --keep local
	both_equal
	has_content "$B/f.txt" left
	is_equal "$(status_of a conflicts)" 0 "conflicts that wait"
	is_equal "$(find "$B" -name '*.conflict-*' | wc -l)" 0 "copies"
}

LIMIT_S[t_status_tells_states_apart]=200
t_status_tells_states_apart() {
	local rc=0
	tw_a init "$SA" --name left >"$TMP/init.out"
	is_equal "$(status_of a state)" unmounted
	rm -r "$SA"
	pair_up
	tw_a status "$A" >"$TMP/status.out"
	grep -q connected "$TMP/status.out"
	is_equal "$(status_of a role)/$(status_of b role)" primary/secondary
	is_equal "$(status_of a node)/$(status_of a peer.node)" left/right
	link_cut_drop
	wait_apart
	tw_a status "$A" >"$TMP/status.out" || rc=$?
	is_equal "$rc" 1 "exit code of status while apart"
	grep -q disconnected "$TMP/status.out"
	[ "$(status_of a why)" != null ] || fail "status does not say why"
	echo x >"$A/f"
	within 20 pending_on a
	link_restore
	wait_together
	is_equal "$(status_of a pending.entries)" 0 "pending"
}
pending_on() { [ "$(status_of "$1" pending.entries)" -gt 0 ]; }

# ---- planned, and crashes

LIMIT_S[t_an_unmounted_side_catches_up]=150
t_an_unmounted_side_catches_up() {
	pair_up
	cp -a /usr/include/linux "$A/linux"
	unmount_side a # drains: b has all of it
	diff -r --no-dereference /usr/include/linux "$B/linux"
	rm -r "$B/linux/netfilter"
	echo while-away >"$B/note"
	mount_side a
	wait_together
	same_tree "$A" "$B"
	has_content "$A/note" while-away
}

LIMIT_S[t_both_unmounted_and_mounted_again_are_equal]=150
t_both_unmounted_and_mounted_again_are_equal() {
	pair_up
	echo 1 >"$A/one"
	unmount_side b
	echo 2 >"$A/two"
	unmount_side a
	mount_side b
	echo 3 >"$B/three"
	mount_side a
	wait_together
	same_tree "$A" "$B"
	is_equal "$(cat "$A/one" "$B/two" "$A/three" | tr -d '\n')" 123
}

# kill -9 of side $1 while both sides write
crash_under_load() {
	local side=$1 m writer other_writer
	pair_up
	m=$(mountpoint_of "$side")
	mkdir "$A/load" "$A/other"
	both_equal
	write_until_it_fails "$m/load" &
	writer=$!
	write_some "$([ "$side" = a ] && echo "$B" || echo "$A")/other" &
	other_writer=$!
	within 20 test -e "$m/load/20"
	python3 -c '
import os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
os.write(fd, b"durable\n" * 10000)
os.fsync(fd)' "$m/fsynced"
	kill_side "$side"
	wait "$writer" || true
	wait "$other_writer"
	mount_side "$side"
	wait_together
	same_tree "$A" "$B"
	is_equal "$(sha256sum <"$m/fsynced")" "$(yes durable | head -n 10000 | sha256sum)" "the file fsynced before the crash"
	is_equal "$(find "$A/other" -type f | wc -l)" 100 "files of the other side"
}
write_until_it_fails() {
	local i=0
	while head -c $((i * 997 % 200000)) /dev/urandom >"$1/$i" && [ "$i" -lt 100000 ]; do i=$((i + 1)); done 2>/dev/null
}
write_some() {
	local i
	for i in $(seq 100); do head -c $((i * 1009)) /dev/urandom >"$1/$i"; sleep 0.02; done
}

LIMIT_S[t_the_primary_killed_under_load_loses_nothing_synced]=200
t_the_primary_killed_under_load_loses_nothing_synced() { crash_under_load a; }

LIMIT_S[t_the_secondary_killed_under_load_loses_nothing_synced]=200
t_the_secondary_killed_under_load_loses_nothing_synced() { crash_under_load b; }

LIMIT_S[t_a_pause_holds_changes_back_until_resume]=150
t_a_pause_holds_changes_back_until_resume() {
	pair_up
	echo base >"$A/f"
	both_equal
	tw_a pause "$A" --reason "a test"
	wait_state a paused
	wait_state b paused
	echo left >"$A/left"
	echo right >"$B/right"
	sleep 1 # time in which a change could wrongly cross
	[ ! -e "$B/left" ] && [ ! -e "$A/right" ] || fail "a change crossed a paused link"
	tw_a resume "$A"
	wait_together
	same_tree "$A" "$B"
	has_content "$B/left" left
	has_content "$A/right" right
}

LIMIT_S[t_sides_meet_while_both_go_on_writing]=200
t_sides_meet_while_both_go_on_writing() {
	local wa wb
	pair_up
	mkdir "$A/a" "$A/b"
	both_equal
	link_cut_drop
	wait_apart
	write_some "$A/a" &
	wa=$!
	write_some "$B/b" &
	wb=$!
	within 20 test -e "$A/a/10" # the middle of the writing
	link_restore
	wait "$wa" "$wb"
	wait_together
	same_tree "$A" "$B"
	is_equal "$(find "$B/a" "$A/b" -type f | wc -l)" 200 "files"
}

t_mount_without_f_returns_when_the_mount_is_ready() {
	tw_a init "$SA" --name left >"$TMP/init.out"
	tw_a mount "$SA" "$A"
	is_mounted "$A" || fail "not mounted when twinfs mount returned"
	echo x >"$A/f"
	ns_a fusermount3 -u "$A"
	within "$SOON_S" no_daemon || fail "the daemon stays after fusermount3 -u"
}
no_daemon() { [ -z "$(ip netns pids "$NS_A")" ]; }
