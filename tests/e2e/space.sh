# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# Space, and a host that fails: what programs get, what is kept, what status says, and how it goes on.

# disk_up a|b MIB [MKFS OPTIONS]: the side's store will be on a small ext4 of its own, mounted at $E2E_DIR/disk_SIDE.
# The loop device goes with its last user.
disk_up() {
	local side=$1 mib=$2 disk=$E2E_DIR/disk_$1
	shift 2
	truncate -s "${mib}M" "$disk.img"
	mkfs.ext4 -q -m 0 "$@" "$disk.img" 2>/dev/null
	mkdir "$disk"
	mount -o loop "$disk.img" "$disk" 2>/dev/null || skip "this machine mounts no loop devices"
	if [ "$side" = a ]; then SA=$disk/s; else SB=$disk/s; fi
}
# Others take all that is left, to the last byte.
fill_disk() {
	local i
	for i in 1 2 3; do
		dd if=/dev/zero of="$1/others$i" bs=64k status=none 2>/dev/null || true
		sync -f "$1"
		[ "$(stat -f -c %a "$1")" -eq 0 ] && return
	done
	[ "$(stat -f -c %a "$1")" -lt 256 ] || fail "$(stat -f -c %a "$1") blocks left on the disk"
}
no_room() { ! head -c 4M /dev/urandom 2>/dev/null >"$1" || ! sync "$1" 2>/dev/null; }
has_room() { head -c "${2:-4M}" /dev/urandom 2>/dev/null >"$1" && sync "$1"; }
# status_is a|b CODE PATTERN: the exit code, and what is said to people
status_is() {
	local rc=0
	tw "$1" status "$(mountpoint_of "$1")" >"$TMP/status.out" 2>&1 || rc=$?
	[ "$rc" = "$2" ] && grep -qiE -- "$3" "$TMP/status.out"
}
wait_status() { within "$SOON_S" status_is "$@" || fail "status of $1 is not $2 with '$3': $(cat "$TMP/status.out")"; }
image_kib() { du -k "$1/image" | cut -f 1; }
df_avail_kib() { df -k --output=avail "$1" | tail -n 1 | tr -d ' '; }

t_a_disk_that_others_filled_refuses_writes_and_takes_deletes() {
	disk_up a 256
	single_up
	head -c 40M /dev/urandom >"$A/big"
	mkdir "$A/d"
	for i in $(seq 400); do echo "$i" >"$A/d/$i"; done
	echo keep >"$A/keep"
	sync "$A/keep"
	fill_disk "$E2E_DIR/disk_a"
	within 5 no_room "$A/new"
	wait_status a 4 'no room'
	is_equal "$(df_avail_kib "$A")" 0 "what df has left"
	rm -f "$A/new"
	rm -r "$A/d"
	sync "$A/keep" || fail "deletes cannot be made durable on a full disk"
	kill_side a
	mount_side a
	[ ! -e "$A/d" ] && has_content "$A/keep" keep
	rm "$A/big"
	sync "$A/keep"
	within "$SOON_S" has_room "$A/again" # the deleted blocks go back to the disk
	unmount_side a
	tw_a fsck "$SA"
}

t_a_full_store_that_is_apart_can_delete_and_be_resized() {
	local kept
	pair_up --size 64M
	head -c 40M /dev/urandom >"$A/old"
	wait_synced
	link_cut_down
	wait_apart
	fill_store "$A/fill"
	wait_status a 4 'resize'
	rm "$A/old" "$A"/fill?
	sync "$A"
	kept=$(status_of a baseline.bytes)
	[ "$kept" -ge 40000000 ] || fail "only $kept bytes are held for the peer"
	tw_a status "$A" >"$TMP/s" || true
	grep -q 'kept for the peer' "$TMP/s"
	fill_store "$A/again"
	wait_status a 4 'held for the peer'
	grep -q 'back in step, which frees what is held' "$TMP/status.out" || fail "$(cat "$TMP/status.out")"
	rm "$A"/again?
	refused_a 'bytes are in use|are in use' resize "$A" 16M
	tw_a resize "$A" 128M
	has_room "$A/more" 60M || fail "growing made no room"
	link_restore
	wait_together
	both_equal
	within "$SOON_S" baseline_is_let_go
}
fill_store() {
	local i
	for i in 1 2 3; do
		! cat /dev/zero >"$1$i" 2>/dev/null || fail "the store is not full"
		sync "$1$i"
	done
}
baseline_is_let_go() { [ "$(status_of a baseline.bytes)" -lt 1000000 ]; }

t_a_shipment_that_does_not_fit_waits_until_it_does() {
	local since announced
	pair_up
	tw_b resize "$B" 20M
	echo first >"$A/first"
	wait_synced
	link_cut_down
	wait_apart
	head -c 60M /dev/urandom >"$A/big"
	sync "$A/big"
	link_restore
	wait_status b 4 'no room for the peer'
	wait_status a 1 'no room for the peer'
	# One state, which stays: it is looked for room, not tried again and again.
	wait_state b paused 60
	since=$(status_of b since)
	announced=$(grep -c 'link: paused' "$E2E_DIR/b.log")
	sleep 12
	is_equal "$(status_of b since)" "$since" "since when b waits"
	is_equal "$(grep -c 'link: paused' "$E2E_DIR/b.log")" "$announced" "how often b said so"
	[ ! -e "$B/big" ] || fail "a part of it was applied"
	echo mine >"$B/mine"
	tw_b resize "$B" 200M
	within 60 same_file "$A/big" "$B/big"
	wait_together
	both_equal
	is_equal "$(tw_b status "$B" >/dev/null; echo $?)" 0 "status of b"
}
LIMIT_S[t_a_shipment_that_does_not_fit_waits_until_it_does]=120
same_file() { cmp -s "$1" "$2"; }

t_what_a_full_side_deleted_makes_room_for_the_peers_changes() {
	pair_up
	head -c 30M /dev/urandom >"$B/old"
	wait_synced
	tw_b resize "$B" 40M
	link_cut_down
	wait_apart
	rm "$B/old" # held until the peer has it
	sync "$B"
	head -c 30M /dev/urandom >"$A/new"
	sync "$A/new"
	link_restore
	within 90 same_file "$A/new" "$B/new"
	both_equal
	[ ! -e "$A/old" ]
}
LIMIT_S[t_what_a_full_side_deleted_makes_room_for_the_peers_changes]=150

t_resize_sets_and_lifts_the_limit() {
	single_up --size 64M
	head -c 20M /dev/urandom >"$A/f"
	sync "$A/f"
	tw_a resize "$A" 1G >"$TMP/out"
	grep -q '1.0 GiB' "$TMP/out"
	is_equal "$(status_of a space.size)" $((1 << 30)) "size"
	refused_a 'in use' resize "$A" 10M
	refused_a 'least is 1M' resize "$A" 4096
	refused_a 'is no size' resize "$A" lots
	is_equal "$(status_of a space.size)" $((1 << 30)) "size"
	tw_a resize "$A" 30M
	[ "$(df_avail_kib "$A")" -lt 10240 ] || fail "df has $(df_avail_kib "$A") KiB left of 10 MiB"
	within 5 no_room_for_12m
	unmount_side a
	tw_a resize "$SA" 100M
	mount_side a
	is_equal "$(status_of a space.size)" $((100 << 20)) "size"
	tw_a resize "$A" none
	is_equal "$(status_of a space.limit)" null "limit"
}
no_room_for_12m() { ! head -c 12M /dev/urandom 2>/dev/null >"$A/g" || ! sync "$A/g" 2>/dev/null; }

t_what_is_removed_goes_back_to_the_disk() {
	local before full
	single_up
	before=$(image_kib "$SA")
	mkdir "$A/d"
	python3 -c "
import os, sys
for i in range(800):
    with open(sys.argv[1] + '/d/%d' % i, 'wb') as f: f.write(os.urandom(8192))" "$A"
	sync "$A/d"
	full=$(image_kib "$SA")
	[ "$full" -ge $((before + 6400)) ] || fail "the image has $full KiB"
	find "$A/d" -name '*[13579]' -delete # short runs
	sync "$A/d"
	within "$SOON_S" image_below "$((full - 3000))" || fail "of $full KiB $(image_kib "$SA") are still taken"
	rm -r "$A/d"
	sync "$A"
	within "$SOON_S" image_below "$((before + 500))" || fail "$(image_kib "$SA") KiB still taken, $before before"
}
image_below() { [ "$(image_kib "$SA")" -le "$1" ]; }

t_status_warns_before_the_store_is_full() {
	single_up --size 64M
	dd if=/dev/urandom of="$A/f" bs=1M count=61 status=none
	tw_a status "$A" >"$TMP/s"
	grep -q 'nearly full' "$TMP/s"
	grep -q 'twinfs resize' "$TMP/s"
}

# A disk under side a that can be made to fail: its device is a sparse file on a tmpfs, and what would make that grow is
# an error when the tmpfs is full. No journal, which would stay failed.
faulty_disk_up() {
	local disk=$E2E_DIR/disk_a
	mkdir "$E2E_DIR/under" "$disk"
	mount -t tmpfs -o size=96M none "$E2E_DIR/under"
	truncate -s 400M "$E2E_DIR/under/img"
	mkfs.ext4 -q -m 0 -O ^has_journal "$E2E_DIR/under/img" 2>/dev/null
	mount -o loop,errors=continue "$E2E_DIR/under/img" "$disk" 2>/dev/null ||
		skip "this machine mounts no loop devices"
	SA=$disk/s
}
disk_fails() { sync -f "$E2E_DIR/disk_a"; cat /dev/zero >"$E2E_DIR/under/full" 2>/dev/null || true; }
disk_works() { rm "$E2E_DIR/under/full"; }

t_a_disk_with_errors_costs_what_was_not_synced_and_no_more() {
	faulty_disk_up
	single_up
	echo one >"$A/f"
	sync "$A/f"
	disk_fails
	head -c 1M /dev/urandom >"$A/f"
	echo new >"$A/g"
	! sync "$A/f" 2>"$TMP/err" || fail "fsync went through on a disk that fails"
	grep -qE 'Input/output error|No space left' "$TMP/err" # as the kernel translates it
	wait_status a 4 'the store takes no changes'
	has_content "$A/f" one
	[ ! -e "$A/g" ] || fail "a name is there that was lost"
	! touch "$A/h" 2>/dev/null || fail "changes are taken that cannot be kept"
	disk_works
	within "$SOON_S" has_room "$A/h" 1M
	echo three >"$A/f"
	sync "$A/f"
	status_is a 0 'time.* the disk failed' || fail "$(cat "$TMP/status.out")"
	kill_side a
	mount_side a
	has_content "$A/f" three
	unmount_side a
	tw_a fsck "$SA"
}

# The image of side a on a block device of its own, which fails when the tmpfs under it is full.
t_a_store_on_a_block_device_lives_with_its_end_and_its_errors() {
	local device
	mkdir "$E2E_DIR/under"
	mount -t tmpfs -o size=48M none "$E2E_DIR/under"
	truncate -s 32M "$E2E_DIR/under/img"
	tw_a init "$SA" --name left >"$TMP/init.out"
	dd if="$SA/image" of="$E2E_DIR/under/img" conv=notrunc status=none
	device=$(losetup -f --show "$E2E_DIR/under/img" 2>/dev/null) || skip "this machine has no loop devices"
	# It goes when its last user has gone.
	exec 6<"$device"
	losetup -d "$device"
	ln -sf "$device" "$SA/image"
	mount_side a
	head -c 10M /dev/urandom >"$A/f"
	sync "$A/f"
	is_equal "$(df -B1M --output=size "$A" | tail -n 1 | tr -d ' ')" 32 "size in MiB"
	refused_a 'has no more|only|device' resize "$A" 1G
	# Errors: what was durable stays, and it goes on by itself.
	cat /dev/zero >"$E2E_DIR/under/full" 2>/dev/null || true
	head -c 12M /dev/urandom >"$A/lost" 2>/dev/null || true
	! sync "$A/lost" 2>/dev/null || fail "fsync went through on a device that fails"
	wait_status a 4 'the store takes no changes'
	rm "$E2E_DIR/under/full"
	within "$SOON_S" has_room "$A/again" 1M
	rm "$A/again"
	for _ in 1 2 3 4; do ! head -c 12M /dev/urandom >>"$A/full" 2>/dev/null || sync "$A/full"; done
	wait_status a 4 'no room'
	rm "$A/full"
	sync "$A"
	within "$SOON_S" has_room "$A/again" 1M
	sha256sum <"$A/f" >"$TMP/sum"
	kill_side a
	mount_side a
	is_equal "$(sha256sum <"$A/f")" "$(cat "$TMP/sum")" "what was durable"
	tw_a scrub "$A"
	unmount_side a
	exec 6<&-
	rm "$SA/image"
	cp "$E2E_DIR/under/img" "$SA/image" # as a file it is a store like any other
	tw_a fsck "$SA"
}

t_a_host_that_turns_read_only_wants_a_mount_and_loses_nothing_durable() {
	local dev
	disk_up a 128
	mount -o remount,errors=remount-ro "$E2E_DIR/disk_a"
	single_up
	echo one >"$A/f"
	sync "$A/f"
	dev=$(basename "$(findmnt -n -o SOURCE "$E2E_DIR/disk_a")")
	[ -w "/sys/fs/ext4/$dev/trigger_fs_error" ] || skip "no way to make ext4 fail"
	echo test >"/sys/fs/ext4/$dev/trigger_fs_error"
	echo two >"$A/f" 2>/dev/null || true
	! sync "$A/f" 2>/dev/null || fail "fsync went through on a read-only disk"
	wait_status a 4 'read-only|disk'
	has_content "$A/f" one
	fusermount3 -u "$A"
	within "$SOON_S" gone "$PID_a"
	umount "$E2E_DIR/disk_a"
	e2fsck -fy "$E2E_DIR/disk_a.img" >/dev/null 2>&1 || [ $? -lt 4 ]
	mount -o loop "$E2E_DIR/disk_a.img" "$E2E_DIR/disk_a"
	mount_side a
	has_content "$A/f" one
	has_room "$A/g"
}

t_a_store_that_is_moved_away_is_noticed() {
	single_up
	echo one >"$A/f"
	mv "$SA" "$SA.away"
	within "$SOON_S" refuses_changes
	! tw_a status "$A" >"$TMP/s" 2>&1 || fail "all is well, says status"
	grep -q "is gone.*fusermount3 -u" "$TMP/s" || fail "status does not say what is gone: $(cat "$TMP/s")"
	! tw_a status --json >"$TMP/s" 2>/dev/null || fail "all is well, says status of all mounts"
	python3 - "$TMP/s" "$A" <<-'EOF'
		import json, sys
		mine = [m for m in json.load(open(sys.argv[1])) if m["mountpoint"] == sys.argv[2]]
		assert len(mine) == 1 and "is gone" in mine[0]["error"] and mine[0]["state"] != "connected", mine
	EOF
	has_content "$A/f" one
	mv "$SA.away" "$SA"
	within "$SOON_S" has_room "$A/g"
	has_content "$A/f" one
	status_is a 0 ''
}
refuses_changes() { ! touch "$A/new" 2>/dev/null; }

t_a_disk_that_hangs_is_named() {
	local disk=$E2E_DIR/disk_a writer
	disk_up a 128
	single_up
	echo one >"$A/f"
	sync "$A/f"
	fsfreeze -f "$disk"
	(echo two >"$A/f"; sync "$A/f") &
	writer=$!
	sleep 4 # a command that comes before it is noticed waits for its own time-out
	within "$SOON_S" status_is a 4 'has not answered' || { fsfreeze -u "$disk"; fail "$(cat "$TMP/status.out")"; }
	fsfreeze -u "$disk"
	wait "$writer"
	has_content "$A/f" two
	status_is a 0 ''
}
