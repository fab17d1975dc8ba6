# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
# The frozen baseline: the tree as both sides last had it, to be listed, read, brought back and mounted.

# make_tree MOUNTPOINT: something of every kind.
make_tree() {
	local m=$1
	mkdir -p "$m/docs/deep"
	echo one >"$m/docs/plan.txt"
	seq 1 20000 >"$m/docs/deep/numbers"
	ln "$m/docs/plan.txt" "$m/docs/deep/same"
	ln -s plan.txt "$m/docs/link"
	mkfifo "$m/docs/pipe"
	truncate -s 3M "$m/docs/sparse"
	echo end >>"$m/docs/sparse"
	setfattr -n user.colour -v red "$m/docs/plan.txt"
	chmod 2750 "$m/docs/deep"
	chown 12:34 "$m/docs/deep/numbers"
	touch -d '2020-01-02 03:04:05.678' "$m/docs/deep/numbers" "$m/docs/deep"
}

bl() { local side=$1; shift; tw "$side" baseline "$(mountpoint_of "$side")" "$@"; }
# names SIDE PATH
names() { bl "$1" ls "$2" --json | python3 -c 'import json, sys; print(" ".join(sorted(e["name"] for e in json.load(sys.stdin))))'; }
# is_baseline SIDE PATH CONTENT
is_baseline() { [ "$(bl "$1" cat "$2" 2>/dev/null)" = "$3" ]; }

t_while_connected_the_baseline_is_what_was_confirmed_last() {
	pair_up
	make_tree "$A"
	wait_synced
	local side
	for side in a b; do
		within "$SOON_S" is_baseline "$side" docs/plan.txt one
		is_equal "$(names "$side" /docs)" "deep link pipe plan.txt sparse"
		bl "$side" cat docs/deep/numbers | cmp - "$A/docs/deep/numbers"
		bl "$side" cat "$(mountpoint_of "$side")/docs/sparse" | cmp - "$A/docs/sparse"
		bl "$side" ls docs/deep | grep -Eq '^-rw-r--r-- +1 .* 108894 2020-01-02 .* numbers$'
		bl "$side" ls -R / | grep -q '^/docs/deep:$'
		bl "$side" ls docs | grep -q 'link -> plan.txt$'
	done
	refused_a 'no such file' baseline "$A" cat docs/none
	refused_a 'no regular file but a dir' baseline "$A" cat docs
	refused_a 'none of ls, cat, restore' baseline "$A" show docs
	echo two >"$B/docs/plan.txt"
	wait_synced
	within "$SOON_S" is_baseline a docs/plan.txt two
	within "$SOON_S" is_baseline b docs/plan.txt two
}

t_while_apart_the_baseline_stands_still_on_both_sides() {
	pair_up
	make_tree "$A"
	wait_synced
	link_cut_down
	wait_apart
	echo mine >"$A/docs/plan.txt"
	rm -r "$A/docs/deep"
	echo theirs >"$B/docs/plan.txt"
	mv "$B/docs/deep" "$B/elsewhere"
	echo new >"$B/new"
	sync "$A" "$B"
	local side
	for side in a b; do
		is_baseline "$side" docs/plan.txt one || fail "the baseline of $side moved"
		is_equal "$(names "$side" /)" docs
		is_equal "$(names "$side" docs/deep)" "numbers same"
		is_equal "$(bl "$side" cat docs/deep/numbers | tail -n 1)" 20000
	done
	# also when the store is not mounted
	unmount_side b
	is_equal "$(tw_b baseline "$SB" cat docs/plan.txt)" one
	is_equal "$(tw_b baseline "$SB" ls docs/deep --json | grep -c '"name"')" 2
	mount_side b
	link_restore
	wait_together
	both_equal
	within "$SOON_S" eval '[ "$(names a /)" != docs ]'
}

t_after_a_planned_pause_both_baselines_are_the_whole_tree() {
	pair_up
	make_tree "$B"
	tw_a pause "$A"
	wait_state b paused
	cp -a "$A" "$TMP/was"
	rm -r "$A/docs" "$B/docs"
	mkdir "$TMP/ma" "$TMP/mb"
	tw_a mount -o baseline "$SA" "$TMP/ma"
	tw_b mount -o baseline "$SB" "$TMP/mb"
	same_tree "$TMP/was" "$TMP/ma"
	same_tree "$TMP/was" "$TMP/mb"
}

t_a_restored_tree_replicates_and_nothing_that_was_there_is_lost() {
	pair_up
	make_tree "$A"
	wait_synced
	cp -a "$A/docs" "$TMP/was"
	link_cut_down
	wait_apart
	rm -r "$A/docs/deep"
	echo changed >"$A/docs/plan.txt"
	echo brand new >"$A/docs/new"
	setfacl -d -m u:12:rwx "$A/docs" # what is made in there from now on inherits it
	# one file: what is there is kept beside it
	tw_a baseline "$A" restore docs/plan.txt >"$TMP/out"
	has_content "$A/docs/plan.txt" one
	has_content "$A/docs/plan.txt.before-restore" changed
	grep -q '^what was there is kept: /docs/plan.txt.before-restore$' "$TMP/out"
	is_equal "$(getfattr --absolute-names -d -m - "$A/docs/plan.txt" | grep =)" 'user.colour="red"'
	tw_a baseline "$A" restore docs/plan.txt | grep -q 'nothing to do'
	# one file of a directory that is gone
	tw_a baseline "$A" restore "$A/docs/deep/numbers" >"$TMP/out"
	is_equal "$(stat -c '%a %u:%g' "$A/docs/deep" "$A/docs/deep/numbers" | tr '\n' ' ')" "2750 0:0 644 12:34 "
	# the whole directory, with its links
	tw_a baseline "$A" restore docs >"$TMP/out"
	same_tree "$TMP/was" "$A/docs"
	[ "$A/docs/plan.txt" -ef "$A/docs/deep/same" ] || fail "the hard link is gone"
	has_content "$A/docs.before-restore/new" "brand new"
	is_equal "$(ls "$A")" "$(printf 'docs\ndocs.before-restore')"
	link_restore
	wait_together
	both_equal
	has_content "$B/docs.before-restore/plan.txt.before-restore" changed
}

t_restore_works_on_the_secondary_and_on_a_store_that_is_not_mounted() {
	pair_up
	make_tree "$A"
	wait_synced
	link_cut_down
	wait_apart
	rm -r "$B/docs"
	unmount_side b
	tw_b baseline "$SB" restore / >"$TMP/out"
	mount_side b
	same_tree "$A" "$B"
	refused_b 'no such file' baseline "$B" restore none
	link_restore
	wait_together
	both_equal
}

t_a_mounted_baseline_stays_still_while_both_sides_write_and_acknowledge() {
	pair_up
	make_tree "$A"
	wait_synced
	within "$SOON_S" is_baseline b docs/plan.txt one
	cp -a "$B" "$TMP/was"
	mkdir "$TMP/snap"
	tw_b mount -o baseline "$SB" "$TMP/snap"
	same_tree "$TMP/was" "$TMP/snap"
	refused 'read-only' touch "$TMP/snap/x"
	local i
	for i in 1 2 3 4 5; do
		echo "$i" >"$A/docs/plan.txt"
		dd if=/dev/urandom of="$A/docs/deep/numbers" bs=64k count=4 conv=notrunc status=none
		echo "$i" >"$B/mine.$i"
		wait_synced
	done
	rm -r "$A/docs"
	wait_synced
	[ ! -e "$B/docs" ] || fail "it has not come through"
	same_tree "$TMP/was" "$TMP/snap"
	# it is dropped from the kernel's memory and read again
	echo 3 >/proc/sys/vm/drop_caches 2>/dev/null || true
	same_tree "$TMP/was" "$TMP/snap"
	tar -C "$TMP/snap" -cf "$TMP/backup.tar" .
	tw_b status "$SB" >"$TMP/status"
	grep -q "$TMP/snap" "$TMP/status"
	is_equal "$(status_of b baseline.mounts | grep -c "$TMP/snap")" 1
	[ "$(status_of b baseline.bytes)" -gt 100000 ] || fail "what is held is not shown: $(status_of b baseline)"
	# another one beside it shows what is now
	mkdir "$TMP/snap2"
	tw_b mount "$SB" "$TMP/snap2" -o baseline,noexec
	[ ! -e "$TMP/snap2/docs" ] || fail "the second baseline is not the present one"
	same_tree "$TMP/was" "$TMP/snap"
	fusermount3 -u "$TMP/snap"
	within "$SOON_S" eval '[ "$(status_of b baseline.bytes)" = 0 ]' || fail "history is not freed: $(status_of b baseline)"
	# it goes with the store's own mount
	unmount_side b
	if is_mounted "$TMP/snap2"; then fail "the baseline outlived its daemon"; fi
	mount_side b
	wait_together
	both_equal
}

t_the_baseline_of_a_store_that_is_not_mounted_can_be_mounted_by_itself() {
	pair_up
	make_tree "$A"
	wait_synced
	within "$SOON_S" is_baseline b docs/plan.txt one
	cp -a "$B" "$TMP/was"
	link_cut_down
	wait_apart
	echo later >"$B/docs/plan.txt"
	unmount_side b
	mkdir "$TMP/snap"
	tw_b mount "$SB" "$TMP/snap" -o baseline
	same_tree "$TMP/was" "$TMP/snap"
	is_equal "$(tw_b baseline "$SB" cat docs/plan.txt)" one
	is_equal "$(status_of b state)" unmounted
	refused_b "its baseline is mounted at $TMP/snap" mount "$SB" "$B"
	fusermount3 -u "$TMP/snap"
	mount_side b
	has_content "$B/docs/plan.txt" later
	link_restore
	wait_together
	both_equal
}

t_a_baseline_that_is_read_when_its_daemon_dies_is_freed_later() {
	pair_up
	make_tree "$A"
	wait_synced
	mkdir "$TMP/snap"
	tw_b mount -o baseline "$SB" "$TMP/snap"
	rm -r "$A/docs"
	wait_synced
	kill_side b
	tw_b fsck "$SB" >"$TMP/fsck" || fail "what a pin held is no damage: $(cat "$TMP/fsck")"
	mount_side b
	if is_mounted "$TMP/snap"; then fail "a dead baseline is still mounted"; fi
	wait_together
	echo more >"$A/more"
	wait_synced
	within "$SOON_S" eval '[ "$(status_of b baseline.bytes)" = 0 ]' || fail "history is not freed: $(status_of b baseline)"
}

t_without_a_peer_there_is_no_baseline() {
	single_up
	echo x >"$A/x"
	refused_a 'no baseline.*no peer' baseline "$A" ls
	mkdir "$TMP/snap"
	refused_a 'no baseline.*no peer' mount -o baseline "$SA" "$TMP/snap"
	unmount_side a
	refused_a 'no baseline.*no peer' mount -o baseline "$SA" "$TMP/snap"
}
