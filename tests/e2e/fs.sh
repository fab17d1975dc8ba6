# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# One mount as a filesystem: what programs on Linux may count on.

# py CODE: python in the mountpoint
py() { (cd "$A" && python3 -c "import ctypes, errno, mmap, os, stat, sys
def fails(error, call, *args, **kw):
    try:
        call(*args, **kw)
    except OSError as e:
        assert e.errno == error, (e, error)
        return
    raise AssertionError(f'went through, want {errno.errorcode[error]}')
def put(path, data):
    with open(path, 'wb') as f:
        f.write(data)
def get(path):
    with open(path, 'rb') as f:
        return f.read()
$1"); }

t_an_unlinked_file_lives_while_it_is_open() {
	single_up
	py '
fd = os.open("f", os.O_RDWR | os.O_CREAT, 0o600)
os.write(fd, b"before")
os.unlink("f")
assert os.listdir(".") == []
os.write(fd, b" after")
os.lseek(fd, 0, 0)
assert os.read(fd, 100) == b"before after"
assert os.fstat(fd).st_nlink == 0
os.ftruncate(fd, 3)
assert os.fstat(fd).st_size == 3
put("f", b"another")
assert os.pread(fd, 100, 0) == b"bef" and get("f") == b"another"
'
}

t_rename_knows_its_flags_and_refusals() {
	single_up
	py '
libc = ctypes.CDLL(None, use_errno=True)
def renameat2(a, b, flags):
    if libc.renameat2(-100, a.encode(), -100, b.encode(), flags):
        raise OSError(ctypes.get_errno(), "renameat2")
NOREPLACE, EXCHANGE = 1, 2
put("a", b"A"); put("b", b"B")
fails(errno.EEXIST, renameat2, "a", "b", NOREPLACE)
renameat2("a", "c", NOREPLACE)
assert get("c") == b"C"[:0] + b"A" and not os.path.exists("a")
renameat2("c", "b", EXCHANGE)
assert get("c") == b"B" and get("b") == b"A"
fails(errno.ENOENT, renameat2, "c", "none", EXCHANGE)
os.rename("c", "b")
assert get("b") == b"B" and os.listdir(".") == ["b"]
os.mkdir("d"); os.mkdir("d/e"); os.mkdir("empty")
fails(errno.EINVAL, os.rename, "d", "d/e/f")
fails(errno.ENOTEMPTY, os.rename, "empty", "d")
fails(errno.ENOTDIR, os.rename, "d", "b")
fails(errno.EISDIR, os.rename, "b", "d")
os.rename("d", "empty")
assert sorted(os.listdir(".")) == ["b", "empty"] and os.listdir("empty") == ["e"]
os.rename("b", "b")
assert get("b") == b"B"
renameat2("b", "empty", EXCHANGE)
assert os.path.isdir("b") and os.path.isfile("empty")
'
}

t_hard_links_share_one_file() {
	single_up
	py '
put("a", b"1")
os.mkdir("d")
os.link("a", "d/b")
sa, sb = os.stat("a"), os.stat("d/b")
assert (sa.st_ino, sa.st_nlink) == (sb.st_ino, 2)
put("d/b", b"22")
assert get("a") == b"22"
ctime = os.stat("a").st_ctime_ns
os.unlink("a")
s = os.stat("d/b")
assert s.st_nlink == 1 and s.st_ctime_ns >= ctime
fails(errno.EPERM, os.link, "d", "e")
fails(errno.EEXIST, os.link, "d/b", "d/b")
os.link("d/b", "a")
os.rename("a", "d/b")  # same file: does nothing
assert os.path.exists("a") and os.path.exists("d/b")
'
}

t_directories_count_and_refuse() {
	single_up
	py '
os.mkdir("d"); os.mkdir("d/e")
assert os.stat("d").st_nlink in (1, 3)
fails(errno.ENOTEMPTY, os.rmdir, "d")
fails(errno.EEXIST, os.mkdir, "d")
fails(errno.EISDIR, os.unlink, "d")
put("f", b"")
fails(errno.ENOTDIR, os.rmdir, "f")
fails(errno.ENOTDIR, os.stat, "f/x")
fails(errno.ENAMETOOLONG, put, "n" * 256, b"")
put("n" * 255, b"")
os.utime("d", ns=(0, 0))
os.rmdir("d/e")
assert os.stat("d").st_mtime_ns > 0
os.rmdir("d")
assert sorted(os.listdir(".")) == ["f", "n" * 255]
'
}

t_symlinks_keep_any_target() {
	single_up
	py '
for i, target in enumerate(["x", "../a b", "/nowhere", "\udcff\udcfe", "l" * 4095]):
    os.symlink(target, f"s{i}")
    assert os.readlink(f"s{i}") == target
    assert os.lstat(f"s{i}").st_size == len(os.fsencode(target))
put("x", b"content")
assert get("s0") == b"content"
fails(errno.EEXIST, os.symlink, "y", "s0")
os.symlink("loop", "loop")
fails(errno.ELOOP, open, "loop")
'
}

t_xattrs_keep_bytes_and_flags() {
	single_up
	py '
put("f", b"")
os.setxattr("f", "user.a", b"\x00\xff binary")
os.setxattr("f", "user.empty", b"")
assert os.getxattr("f", "user.a") == b"\x00\xff binary" and os.getxattr("f", "user.empty") == b""
assert sorted(os.listxattr("f")) == ["user.a", "user.empty"]
fails(errno.EEXIST, os.setxattr, "f", "user.a", b"", os.XATTR_CREATE)
fails(errno.ENODATA, os.setxattr, "f", "user.b", b"", os.XATTR_REPLACE)
fails(errno.ENODATA, os.getxattr, "f", "user.b")
fails(errno.ENODATA, os.removexattr, "f", "user.b")
os.setxattr("f", "user.a", b"x" * 4096)
assert os.getxattr("f", "user.a") == b"x" * 4096
os.removexattr("f", "user.a")
assert os.listxattr("f") == ["user.empty"]
os.setxattr("f", "trusted.t", b"root only")
os.mkdir("d")
os.setxattr("d", "user.d", b"1")
assert os.getxattr("d", "user.d") == b"1"
'
}

t_mmap_reads_and_writes_the_file() {
	single_up
	py '
put("f", b"a" * 10000)
with open("f", "r+b") as f:
    m = mmap.mmap(f.fileno(), 0)
    m[5000:5003] = b"XYZ"
    m.flush()
    assert os.pread(f.fileno(), 5, 4999) == b"aXYZa"
    os.pwrite(f.fileno(), b"seen", 0)
    assert m[:5] == b"seena"
    m.close()
assert get("f")[4999:5004] == b"aXYZa" and len(get("f")) == 10000
with open("f", "rb") as f:
    p = mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    p[0:4] = b"mine"
    p.close()
assert get("f")[:4] == b"seen"
'
}

t_truncate_and_holes_read_as_zeros() {
	single_up
	py '
put("f", b"x" * 10000)
os.truncate("f", 5000)
os.truncate("f", 20000)
assert get("f") == b"x" * 5000 + bytes(15000)
os.truncate("f", 4097)
with open("f", "ab") as f:
    f.write(b"end")
assert get("f") == b"x" * 4097 + b"end"
os.truncate("f", 0)
assert get("f") == b""
with open("s", "wb") as f:
    f.seek(1 << 40)
    f.write(b"far")
s = os.stat("s")
assert s.st_size == (1 << 40) + 3 and s.st_blocks * 512 < 1 << 20, s
fd = os.open("s", os.O_RDONLY)
assert os.pread(fd, 8192, 1 << 30) == bytes(8192)
assert os.pread(fd, 100, (1 << 40) - 4) == bytes(4) + b"far"
os.close(fd)
'
}

t_random_writes_read_back() {
	single_up
	py '
import random
random.seed(7)
want = bytearray(1 << 20)
fd = os.open("f", os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, len(want))
for i in range(3000):
    n = random.choice([1, 7, 512, 4096, 5000, 65536])
    at = random.randrange(len(want) - n)
    data = random.randbytes(n)
    os.pwrite(fd, data, at)
    want[at:at + n] = data
    if i % 500 == 0:
        os.fsync(fd)
    if i % 100 == 0:
        at = random.randrange(len(want))
        assert os.pread(fd, 10000, at) == want[at:at + 10000]
os.close(fd)
assert get("f") == want
'
	# and again from the store
	sha256sum <"$A/f" >"$TMP/sum"
	unmount_side a
	mount_side a
	is_equal "$(sha256sum <"$A/f")" "$(cat "$TMP/sum")" "content after another mount"
}

t_times_are_kept_to_the_nanosecond() {
	single_up
	py '
put("f", b"")
os.utime("f", ns=(1_234_567_890_123_456_789, 987_654_321_000_000_001))
s = os.stat("f")
assert (s.st_atime_ns, s.st_mtime_ns) == (1_234_567_890_123_456_789, 987_654_321_000_000_001), s
os.utime("f", ns=(1, -1_500_000_000))
assert os.stat("f").st_mtime_ns == -1_500_000_000
before = os.stat("f").st_ctime_ns
import time
time.sleep(0.02)  # file times may be taken from a coarse clock
os.chmod("f", 0o600)
s = os.stat("f")
assert s.st_ctime_ns > before and s.st_mtime_ns == -1_500_000_000
with open("f", "ab") as f:
    f.write(b"x")
assert os.stat("f").st_mtime_ns > before
os.symlink("f", "l")
os.utime("l", ns=(5, 6), follow_symlinks=False)
assert os.lstat("l").st_mtime_ns == 6
'
}

t_listing_a_big_directory_misses_nothing_while_it_changes() {
	single_up
	py '
os.mkdir("d")
for i in range(5000):
    os.close(os.open(f"d/stays{i:05}", os.O_CREAT))
seen = []
with os.scandir("d") as entries:
    for k, e in enumerate(entries):
        seen.append(e.name)
        if k % 50 == 0:
            os.close(os.open(f"d/new{k}", os.O_CREAT))
            os.unlink(f"d/new{k}")
stays = [n for n in seen if n.startswith("stays")]
assert len(stays) == len(set(stays)) == 5000, (len(stays), len(set(stays)))
assert len(seen) == len(set(seen))
with os.scandir("d") as entries:
    for e in entries:
        os.unlink(e.path)
os.rmdir("d")
'
}

t_new_files_belong_to_who_makes_them() {
	single_up
	chmod 1777 "$A"
	mkdir "$A/set-gid"
	chown 0:4242 "$A/set-gid"
	chmod 2777 "$A/set-gid"
	setpriv --reuid 1001 --regid 1002 --clear-groups bash -c '
		cd "$1" && umask 027 && echo x >mine && mkdir dir && ln -s x link && echo x >set-gid/f && mkdir set-gid/d' _ "$A"
	is_equal "$(cd "$A" && stat -c %u:%g:%a mine dir link | tr '\n' ' ')" "1001:1002:640 1001:1002:750 1001:1002:777 "
	is_equal "$(cd "$A" && stat -c %u:%g:%a set-gid/f set-gid/d | tr '\n' ' ')" "1001:4242:640 1001:4242:2750 "
}

t_permissions_are_checked() {
	single_up
	chmod 1777 "$A"
	echo secret >"$A/private"
	chmod 600 "$A/private"
	as_nobody() { setpriv --reuid 1001 --regid 1002 --clear-groups "$@"; }
	! as_nobody cat "$A/private" 2>/dev/null || fail "a private file was read"
	! as_nobody rm -f "$A/private" 2>/dev/null || fail "the sticky bit does not hold"
	! as_nobody chown 1001 "$A/private" 2>/dev/null || fail "a file was given away"
	! as_nobody mkdir "$A/private/x" 2>/dev/null
	cp /bin/true "$A/true"
	chmod 4755 "$A/true"
	as_nobody "$A/true"
	echo x >>"$A/true"
	has_content "$A/private" secret
}

t_files_open_as_asked() {
	single_up
	py '
fd = os.open("f", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o000)
os.write(fd, b"1")
fails(errno.EBADF, os.read, fd, 1)
fails(errno.EEXIST, os.open, "f", os.O_CREAT | os.O_EXCL)
fails(errno.ENOENT, os.open, "none", os.O_RDONLY)
fails(errno.EISDIR, os.open, ".", os.O_WRONLY)
fails(errno.ENOTDIR, os.open, "f", os.O_DIRECTORY)
a = os.open("f", os.O_WRONLY | os.O_APPEND)
os.write(fd, b"2"); os.write(a, b"3"); os.write(fd, b"4")
assert get("f") == b"124", get("f")
os.close(os.open("f", os.O_WRONLY | os.O_TRUNC))
assert get("f") == b""
import fcntl
b = os.open("f", os.O_RDWR)
fcntl.flock(fd, fcntl.LOCK_EX)
fails(errno.EAGAIN, fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
'
}

t_statfs_tells_size_and_use() {
	single_up --size 512M
	local before after
	is_equal "$(stat -f -c %S "$A")" 4096 "block size"
	[ "$(($(stat -f -c %b "$A") * 4096))" -le $((512 << 20)) ]
	before=$(stat -f -c %f "$A")
	head -c 20M /dev/urandom >"$A/f"
	sync "$A/f"
	after=$(stat -f -c %f "$A")
	[ $((before - after)) -ge 5000 ] || fail "20 MiB written, free blocks went from $before to $after"
	rm "$A/f"
	within "$SOON_S" free_again "$((before - 500))"
}
free_again() { [ "$(stat -f -c %f "$A")" -ge "$1" ]; }

t_a_full_store_says_enospc_and_goes_on() {
	local rc=0
	single_up --size 64M
	echo keep >"$A/keep"
	dd if=/dev/zero of="$A/fill" bs=1M count=200 conv=fsync status=none 2>"$TMP/dd.err" || rc=$?
	[ "$rc" -ne 0 ] || fail "200 MiB fit in 64 MiB"
	grep -q 'No space left' "$TMP/dd.err" || fail "$(cat "$TMP/dd.err")"
	has_content "$A/keep" keep
	rm "$A/fill"
	within "$SOON_S" write_4m
}
write_4m() { head -c 4M /dev/urandom 2>/dev/null >"$A/again"; }

t_what_fallocate_got_can_be_written_when_the_store_is_full() {
	local free
	single_up --size 16M
	free=$(df -k --output=avail "$A" | tail -n 1)
	fallocate -l 4M "$A/ahead"
	is_equal "$(du -k "$A/ahead" | cut -f 1)" 4096 "what du counts of it"
	is_equal "$((free - $(df -k --output=avail "$A" | tail -n 1)))" 4096 "what df counts of it"
	! head -c 20M /dev/zero >"$A/filler" 2>/dev/null || fail "the store was not full"
	sync "$A/filler" 2>/dev/null || true
	kill_side a
	mount_side a
	dd if=/dev/urandom of="$A/ahead" bs=64k count=64 conv=notrunc,fsync status=none || fail "no room for what was set aside"
	! dd if=/dev/urandom of="$A/ahead" bs=64k count=16 seek=64 conv=notrunc,fsync status=none 2>/dev/null ||
		fail "there was room behind it"
	unmount_side a
	tw_a fsck "$SA"
}

t_what_was_there_is_there_after_another_mount() {
	single_up
	cp -a /usr/include/linux "$A/linux"
	mkfifo "$A/fifo"
	setfattr -n user.k -v v "$A/linux"
	ln "$A/linux/fs.h" "$A/hard"
	python3 "$E2E_HERE/treedump.py" "$A" >"$TMP/before"
	unmount_side a
	tw_a fsck "$SA"
	mount_side a
	python3 "$E2E_HERE/treedump.py" "$A" >"$TMP/after"
	diff "$TMP/before" "$TMP/after"
}

t_a_killed_mount_keeps_what_was_synced() {
	single_up
	py '
put("old", b"o" * 100000)
fd = os.open("f", os.O_CREAT | os.O_WRONLY)
os.write(fd, b"d" * 100000)
os.fsync(fd)
os.fsync(os.open(".", os.O_RDONLY))
'
	kill_side a
	tw_a fsck "$SA"
	mount_side a
	is_equal "$(cat "$A/f" "$A/old" | wc -c)" 200000 "bytes"
}

t_inotify_tells_of_the_peers_removals_and_of_all_that_is_done_here() {
	local watcher
	pair_up
	mkdir "$A/d" "$A/e"
	for f in written removed linked; do echo one >"$A/$f"; done
	ln "$A/linked" "$A/link"
	wait_synced
	ls -lR "$B" >/dev/null
	cd "$B"
	timeout 50 python3 "$E2E_HERE/watch.py" 50 . d e written removed linked >"$TMP/events" &
	watcher=$!
	within 20 grep -q watching "$TMP/events"
	echo two >"$A/written"
	chmod 600 "$A/written"
	mv "$A/written" "$A/renamed"
	rm "$A/removed"
	rm "$A/linked" # it lives on as link
	rmdir "$A/d"
	echo new >"$A/new"
	wait_synced
	within 10 grep -q 'd DELETE_SELF' "$TMP/events"
	is_equal "$(grep -v -e watching -e IGNORED "$TMP/events" | sort)" "$(printf '%s DELETE_SELF \n' d removed)" "events"
	is_equal "$(stat -c %h link)" 1 "links of what has one left"
	echo here >local
	rmdir e
	within 10 grep -qx '. DELETE e' "$TMP/events"
	grep -qx '. CREATE local' "$TMP/events" && grep -q 'CLOSE_WRITE local' "$TMP/events"
	echo more >>link # what was watched as "linked" is watched still
	within 10 grep -q 'linked MODIFY' "$TMP/events"
	kill "$watcher"
	cd /
}
LIMIT_S[t_inotify_tells_of_the_peers_removals_and_of_all_that_is_done_here]=90

# Of the peer's changes it says MODIFY, for what was changed itself and for the directory around it; and nothing of that goes
# back to the peer as a change.
t_with_o_inotify_who_watches_hears_of_all_that_the_peer_did() {
	local watcher before daemon
	pair_up
	mkdir "$A/d"
	for f in written removed renamed d/deep; do echo one >"$A/$f"; done
	wait_synced
	unmount_side b
	mount_side b -o inotify
	wait_together
	daemon=$PID_b
	ls -lR "$B" >/dev/null
	cd "$B"
	timeout 80 python3 "$E2E_HERE/watch.py" 80 . d written >>"$TMP/events" &
	watcher=$!
	within 20 grep -q watching "$TMP/events"
	echo two >>"$A/written"
	before=$(stat -c '%y %z' "$A/written")
	within 20 grep -qx 'written MODIFY ' "$TMP/events"
	within 20 grep -qx '. MODIFY written' "$TMP/events"
	has_content written "$(printf 'one\ntwo')"
	echo new >"$A/d/new"
	within 20 grep -qx 'd MODIFY new' "$TMP/events"
	ln -s new "$A/d/soft"
	within 20 grep -qx 'd MODIFY soft' "$TMP/events"
	chmod 600 "$A/d/deep"
	within 20 grep -qx 'd MODIFY deep' "$TMP/events"
	mv "$A/renamed" "$A/d/moved"
	within 20 grep -qx 'd MODIFY moved' "$TMP/events"
	: >"$TMP/events"
	rm "$A/removed"
	within 20 grep -qx '. MODIFY ' "$TMP/events"
	wait_synced
	is_equal "$(stat -c '%y %z' written)" "$before" "times"
	is_equal "$(stat -c '%y %z' "$A/written")" "$before" "times on the other side"
	kill "$watcher"
	wait "$watcher" || true # it stands in the mount
	cd /
	# Unmounting is not refused while it works, and nothing stays behind.
	for i in {1..300}; do echo "$i" >"$A/d/$i"; done
	fusermount3 -u "$B"
	within "$SOON_S" gone "$daemon"
	within "$SOON_S" nobody_runs "mount $SB"
}
LIMIT_S[t_with_o_inotify_who_watches_hears_of_all_that_the_peer_did]=120

nobody_runs() { ! pgrep -f -- "$1" >/dev/null; }

# ends PID: it is gone, or a zombie of ours
ends() { [ ! -e "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status"; }

# A thread that had yet to stop could take a request with it, and nobody could be killed who waits for that.
stands_still() { ! cat /proc/"$1"/task/*/status | grep '^State:' | grep -qv '[[:space:]]T '; }

t_programs_can_be_killed_while_the_daemon_stands_still_and_end_when_it_dies() {
	local pids=() pid c
	local commands=('cat "$1/a"' 'ls -l "$1/d"' 'echo x >"$1/new"' 'rm "$1/b"' 'sync "$1/a"' 'stat -f "$1"'
		'flock "$1/a" true')
	single_up
	mkdir "$A/d"
	echo one >"$A/a"
	echo two >"$A/b"
	sync "$A"
	unmount_side a
	mount_side a # the kernel knows nothing
	exec 7<"$A/a"
	flock 7
	for round in killed dead; do
		kill -STOP "$PID_a"
		within 20 stands_still "$PID_a"
		pids=()
		for c in "${commands[@]}"; do
			bash -c "$c" _ "$A" >"$TMP/out" 2>&1 7<&- &
			pids+=($!)
		done
		sleep 1
		if [ "$round" = killed ]; then
			kill -9 "${pids[@]}"
		else
			exec 7<&- # closing waits for nobody
			kill -9 "$PID_a"
		fi
		for pid in "${pids[@]}"; do
			within 20 ends "$pid" || fail "$round: still there: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
			wait "$pid" 2>/dev/null || true
		done
		[ "$round" = dead ] || kill -CONT "$PID_a"
	done
	within "$SOON_S" gone "$PID_a"
	fusermount3 -u "$A" || fail "a dead mount cannot be unmounted"
	mount_side a
	has_content "$A/a" one
}
LIMIT_S[t_programs_can_be_killed_while_the_daemon_stands_still_and_end_when_it_dies]=120
