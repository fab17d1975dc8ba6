# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# A mount against what Linux promises: the programs of tests/posix, ACLs, the words of mount.

# posix_program NAME: its path; built here if the build has none
posix_program() {
	local built
	built=$(dirname "$TWINFS")/tests/posix/$1
	if [ ! -x "$built" ]; then
		built=$TMP/$1
		[ -x "$built" ] || cc -std=gnu11 -D_GNU_SOURCE -O1 -pthread -I"$E2E_HERE/../.." -o "$built" \
			"$E2E_HERE/../posix/$1.c"
	fi
	echo "$built"
}

# tap_passes CMD...: shows what failed
tap_passes() {
	"$@" >"$TMP/tap" || { grep -v '^ok' "$TMP/tap" >&2; return 1; }
}

LIMIT_S[t_the_suite_passes_on_a_mount]=170
t_the_suite_passes_on_a_mount() {
	tw_a init "$SA" --name left >"$TMP/init.out"
	mount_side a -o suid,dev
	mkdir "$A/suite"
	tap_passes "$(posix_program suite)" "$A/suite"
	[ "$(grep -c '^ok' "$TMP/tap")" -gt 40 ] || fail "only some rows ran: $(cat "$TMP/tap")"
}

t_random_file_operations_match_a_model_also_after_a_remount() {
	local seed fsx
	single_up
	fsx=$(posix_program fsx)
	for seed in 1 2 3 4; do
		tap_passes "$fsx" "$A/f$seed" "$seed" 1500
	done
	(cd "$A" && sha256sum f?) >"$TMP/sums"
	unmount_side a
	mount_side a
	(cd "$A" && sha256sum -c --quiet "$TMP/sums")
}

# Each side at work in files and directories of its own, while the other's changes come in.
t_random_work_on_both_sides_matches_its_models_and_both_are_equal() {
	local fsx stress
	fsx=$(posix_program fsx) stress=$(posix_program stress)
	pair_up
	mkdir "$A/da" "$A/db"
	wait_synced
	tap_passes "$fsx" "$A/fa" 11 1000 & local p1=$!
	"$fsx" "$B/fb" 12 1000 >"$TMP/tap2" & local p2=$!
	"$stress" "$A/da" 13 600 3 >"$TMP/tap3" & local p3=$!
	"$stress" "$B/db" 14 600 3 >"$TMP/tap4" & local p4=$!
	wait "$p1" && wait "$p2" && wait "$p3" && wait "$p4" || { cat "$TMP"/tap? >&2; return 1; }
	both_equal
}

t_acls_and_xattrs_answer_as_elsewhere() {
	single_up
	mkdir "$TMP/there" "$A/here"
	setfacl -m u:1001:r "$TMP/there" 2>/dev/null || skip "the filesystem of TMPDIR has no ACLs to compare with"
	setfacl -b "$TMP/there"
	"$E2E_HERE/../posix/acl_answers.sh" "$TMP/there" >"$TMP/want" 2>&1
	"$E2E_HERE/../posix/acl_answers.sh" "$A/here" >"$TMP/got" 2>&1
	[ "$(wc -l <"$TMP/want")" -gt 400 ] || fail "too few answers: $(tail -n 3 "$TMP/want")"
	diff "$TMP/want" "$TMP/got"
}

as_user() { setpriv --reuid "$1" --regid 1002 --clear-groups "${@:2}"; }

t_acls_are_enforced_on_the_other_side_too() {
	pair_up
	chmod 755 "$A"
	echo secret >"$A/f"
	chmod 600 "$A/f"
	mkdir "$A/d"
	wait_synced
	# b's kernel has looked, and believes that nobody may read
	! as_user 1001 cat "$B/f" 2>/dev/null || fail "1001 read a file of mode 600"
	getfacl -n "$B/f" >/dev/null
	setfacl -m u:1001:r "$A/f"
	setfacl -d -m u:1001:rwx,o::- "$A/d"
	wait_synced
	as_user 1001 cat "$B/f" >/dev/null || fail "an ACL of the other side is not enforced"
	touch "$B/d/new"
	is_equal "$(getfacl -cn "$B/d/new" | grep -c user:1001)" 1 "entries for 1001 in what is made on b"
	both_equal
	setfacl -b "$A/f"
	chmod 600 "$A/f"
	wait_synced
	! as_user 1001 cat "$B/f" 2>/dev/null || fail "1001 reads though its entry is gone"
	both_equal
	is_equal "$(getfacl -cn "$B/f" | tr '\n' ' ')" "user::rw- group::--- other::---  "
}

t_mode_and_acl_changed_on_both_sides_stay_one() {
	local f
	pair_up
	for f in 1 2 3; do echo x >"$A/f$f"; done
	setfacl -m u:1001:rwx "$A/f3"
	wait_synced
	link_cut_down
	wait_apart
	setfacl -m u:1001:rw "$A/f1"
	chmod 600 "$B/f1"
	chmod 640 "$A/f2"
	setfacl -m u:1001:rwx "$B/f2"
	chmod 600 "$A/f3"
	setfacl -b "$B/f3"
	link_restore
	wait_together
	both_equal
	is_equal "$(stat -c %a "$B/f1" "$B/f2" "$B/f3" | tr '\n' ' ')" "664 640 600 "
	is_equal "$(getfacl -cn "$B/f1" | grep -c mask::rw-)" 1
	is_equal "$(getfacl -cn "$B/f2" | grep -c 1001 || true)" 0
	is_equal "$(getfacl -cn "$B/f3" | grep -c 'mask::---')" 1
}

options_at() { awk -v m="$1" '$2 == m { print "," $4 "," }' /proc/mounts; }
has_option() { [[ $(options_at "$A") == *",$1,"* ]] || fail "not mounted with $1: $(options_at "$A")"; }


t_a_read_only_mount_takes_no_change_but_the_peers() {
	pair_up
	echo 1 >"$A/f"
	wait_synced
	unmount_side b
	mount_side b -o ro
	wait_state b connected
	! touch "$B/new" 2>/dev/null || fail "something was made in a read-only mount"
	! bash -c 'echo 2 >>"$1"' _ "$B/f" 2>/dev/null
	! rm -f "$B/f" 2>/dev/null
	! chmod 600 "$B/f" 2>/dev/null
	! setfattr -n user.k -v v "$B/f" 2>/dev/null
	echo 3 >"$A/f"
	wait_synced
	has_content "$B/f" 3
	both_equal
}

t_remount_changes_the_words_of_a_mount() {
	single_up
	has_option nosuid
	"$TWINFS" mount "$SA" "$A" -o remount,ro
	has_option ro
	has_option nosuid
	! touch "$A/f" 2>/dev/null || fail "made a file on a read-only mount"
	"$TWINFS" mount "$SA" "$A" -o remount,rw,noatime,noexec
	has_option rw
	has_option noexec
	touch "$A/f"
	exec 5>"$A/open"
	refused_a 'open for writing' mount "$SA" "$A" -o remount,ro
	exec 5>&-
	refused_a 'unknown mount option "bogus"' mount "$SA" "$A" -o remount,bogus
	refused_a 'sync cannot be given' mount "$SA" "$A" -o remount,sync
	has_option noatime # without being asked: it is so
	refused_a 'no mount of twinfs' mount "$SA" "$TMP" -o remount,ro
}

# work_and_kill NAMES|ALL: changes below $A, none of them synced, then kill -9 of its daemon at once.
work_and_kill() {
	python3 - "$A" "$PID_a" "$1" <<-'END'
		import os, signal, sys
		os.chdir(sys.argv[1])
		open("new", "x").close()
		os.mkdir("dir")
		os.symlink("x", "link")
		os.link("old", "dir/second")
		os.rename("old", "renamed")
		os.unlink("gone")
		os.rmdir("gone.d")
		if sys.argv[3] == "ALL":
		    os.truncate("cut", 2)
		    os.chmod("cut", 0o600)
		    os.utime("cut", (1, 2))
		    os.setxattr("cut", "user.k", b"v")
		    fd = os.open("renamed", os.O_RDWR)
		    os.pwrite(fd, b"NEW", 0)
		    os.posix_fallocate(fd, 0, 1 << 16)
		    to = os.open("copy", os.O_RDWR)
		    os.copy_file_range(fd, to, 3)
		os.kill(int(sys.argv[2]), signal.SIGKILL)
	END
	within "$SOON_S" gone "$PID_a"
	umount -l "$A" 2>/dev/null || true
	mount_side a
	is_equal "$(cd "$A" && find . | sort | tr '\n' ' ')" '. ./copy ./cut ./dir ./dir/second ./link ./new ./renamed ' tree
}

t_what_a_sync_or_dirsync_mount_answered_outlives_a_kill() {
	local way
	for way in 'dirsync NAMES' 'sync ALL'; do
		[ -z "$PID_a" ] || unmount_side a
		rm -rf "$SA"
		tw_a init "$SA" --name left >"$TMP/init.out"
		mount_side a -o "${way% *}"
		has_option "${way% *}"
		(cd "$A" && mkdir gone.d && echo old >old && touch gone copy && echo cut >cut && sync old gone copy cut)
		work_and_kill "${way#* }"
	done
	has_content "$A/cut" cu
	is_equal "$(stat -c '%a %X %Y' "$A/cut") $(getfattr --only-values -n user.k "$A/cut")" '600 1 2 v' 'attributes of cut'
	has_content "$A/copy" NEW
	is_equal "$(stat -c '%s' "$A/dir/second")" 65536 'size of what was allocated'
}

# In a mount namespace of its own, where everybody may open /dev/fuse, as udev has it. fusermount3 wants a user with
# a name.
t_an_ordinary_user_mounts_by_fusermount3() {
	local home=$E2E_DIR/home
	mkdir "$home" && chown nobody "$home"
	mknod "$TMP/fuse" c 10 229 && chmod 666 "$TMP/fuse"
	echo '# nothing' >"$TMP/fuse.conf"
	unshare --mount bash -euc '
		# The copies of the mounts of tests beside this one: they would outlive their originals.
		sed -n "s/^\([^ ]* \)\{4\}\([^ ]*\) .* - fuse.twinfs .*/\2/p" /proc/self/mountinfo | xargs -r -n 1 umount -l
		mount --bind "$3/fuse" /dev/fuse
		mount --bind "$3/fuse.conf" /etc/fuse.conf
		as_user() { setpriv --reuid nobody --regid nogroup --clear-groups "$@"; }
		unmounted() {
			as_user fusermount3 -u m
			for ((i = 0; i < 200; i++)); do as_user "$2" fsck store >/dev/null 2>&1 && return; sleep 0.1; done
			exit 1
		}
		cd "$1"
		as_user "$2" init store --name mine >/dev/null
		as_user mkdir m
		as_user "$2" mount store m
		as_user bash -euc "echo x >m/f && ln m/f m/g && setfacl -m u:0:r m/f"
		[ "$(as_user stat -c %h m/g)" = 2 ]
		! ls m 2>/dev/null
		unmounted "$@"
		! as_user "$2" mount store m -o allow_other 2>"$3/err"
		grep -q "user_allow_other in /etc/fuse.conf" "$3/err"
		echo user_allow_other >"$3/fuse.conf"
		as_user "$2" mount store m -o allow_other,ro,noexec
		[ "$(cat m/f)" = x ]
		! as_user touch m/f 2>/dev/null
		unmounted "$@"' _ "$home" "$TWINFS" "$TMP"
}

# mount(8) finds the program where it is installed: here a folder of our own is mounted over that, for this test alone.
t_mount_8_and_fstab_mount_it() {
	command -v mount.fuse3 >/dev/null || skip "mount.fuse3 is missing"
	mkdir -p /usr/local/bin "$TMP/bin"
	install -m 755 "$TWINFS" "$TMP/bin/twinfs"
	tw_a init "$SA" --name left >"$TMP/init.out"
	echo "$SA $A fuse.twinfs noauto,user,_netdev,nofail,x-systemd.automount,noexec 0 0" >"$TMP/fstab"
	unshare --mount bash -euc '
		# The copies of the mounts of tests beside this one: they would outlive their originals.
		sed -n "s/^\([^ ]* \)\{4\}\([^ ]*\) .* - fuse.twinfs .*/\2/p" /proc/self/mountinfo | xargs -r -n 1 umount -l
		mount --bind "$3/bin" /usr/local/bin
		export PATH=/usr/local/bin:$PATH
		has() { findmnt -n -o OPTIONS "$2" | tr , "\n" | grep -qx "$1" || { findmnt "$2"; exit 1; }; }
		unmounted() {
			umount "$2"
			for ((i = 0; i < 200; i++)); do flock -n "$1/lock" true && return; sleep 0.1; done
			exit 1
		}
		mount -t fuse.twinfs "$1" "$2" -o noatime,allow_other
		has noatime "$2"
		echo one >"$2/f"
		mount -o remount,ro "$2"
		! touch "$2/f" 2>/dev/null
		mount -o remount,rw "$2"
		touch "$2/f"
		unmounted "$@"
		mount -T "$3/fstab" "$2"
		has noexec "$2"
		has nosuid "$2"
		unmounted "$@"
		sed -i s/noauto,// "$3/fstab"
		mount -a -T "$3/fstab"
		mount -a -T "$3/fstab" # it is there: nothing to do
		[ "$(cat "$2/f")" = one ]
		unmounted "$@"
		mount -t fuse "twinfs#$1" "$2" -o ro # as old tables have it
		has ro "$2"
		unmounted "$@"
		! mount -t fuse.twinfs "$3" "$2" 2>"$3/err"
		grep -q "is not a twinfs store" "$3/err"' _ "$SA" "$A" "$TMP"
}
