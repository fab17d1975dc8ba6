# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# What people do all day, with the programs they do it with. On one side of a pair where the other side has to have it.

# The right side is closed and opened again: what its kernel had cached does not count.
equal_after_remount() {
	both_equal 90
	unmount_side b
	mount_side b
	wait_together
	same_tree "$A" "$B"
}
work() { python3 "$E2E_HERE/programs.py" "$@"; }

LIMIT_S[t_git_works_on_either_side]=180
t_git_works_on_either_side() {
	local i r=$A/repo
	pair_up
	git init -q -b main "$r"
	for i in $(seq 12); do
		mkdir -p "$r/d$((i % 4))"
		seq "$i" $((i * 70)) >"$r/d$((i % 4))/f$i"
		git -C "$r" add -A
		git -C "$r" commit -q -m "c$i"
	done
	git -C "$r" worktree add -q "$A/tree" -b side HEAD~4
	echo side >"$A/tree/side"
	git -C "$A/tree" add side
	git -C "$A/tree" commit -q -m side
	git -C "$A/tree" rebase -q main
	git clone -q "$r" "$A/clone"
	git -C "$r" gc -q --prune=now
	git -C "$r" fsck --strict
	equal_after_remount
	for i in repo clone; do
		git -C "$B/$i" fsck --strict
		is_equal "$(git -C "$B/$i" status --porcelain)" "" "git status of $i"
	done
	is_equal "$(git -C "$B/repo" log --format=%s -1 side)" side "the rebased branch"
	git -C "$B/clone" checkout -q -b right HEAD~3
	git -C "$B/clone" commit -q --allow-empty -m "from the right"
	git -C "$B/clone" gc -q
	both_equal
	git -C "$A/clone" fsck --strict
	is_equal "$(git -C "$A/clone" log -1 --format=%s right)" "from the right" "last commit"
	is_equal "$(git -C "$A/clone" status --porcelain)" "" "git status on the left"
}

# Each writer adds what it says it has added; nothing is lost and the database is whole, on both sides.
sqlite_keeps_all() {
	pair_up
	work sqlite "$A/db" "$1" 5 40
	work sqlite-check "$A/db" 200
	equal_after_remount
	work sqlite-check "$B/db" 200
}
LIMIT_S[t_sqlite_keeps_every_row_of_five_writers]=120
t_sqlite_keeps_every_row_of_five_writers() { sqlite_keeps_all delete; }
LIMIT_S[t_sqlite_keeps_every_row_of_five_writers_with_a_wal]=120
t_sqlite_keeps_every_row_of_five_writers_with_a_wal() { sqlite_keeps_all wal; }

# A tree with all that tar and rsync can carry.
odd_tree() {
	mkdir -p "$1/d/deep" "$1/empty"
	seq 5000 >"$1/d/text"
	ln "$1/d/text" "$1/d/deep/hard"
	ln -s ../d/text "$1/d/soft"
	ln -s nowhere "$1/dangling"
	mkfifo -m 600 "$1/fifo"
	printf 'head' >"$1/sparse"
	truncate -s 5M "$1/sparse"
	printf 'tail' >>"$1/sparse"
	setfattr -n user.note -v "a value" "$1/d/text"
	setfattr -n user.dir -v x "$1/d"
	install -m 4755 /bin/true "$1/suid"
	chown 12:34 "$1/empty"
	printf x >"$1/"$'name with\nodd \xff bytes'
	# Nothing in it may have the time of now: rsync leaves what it makes within the same second as it is.
	find "$1" -exec touch -h -d '2001-02-03 04:05:06.123456789' {} +
	touch -d '1970-01-01 00:00:00.000000001 UTC' "$1/empty" "$1/d/deep"
}

LIMIT_S[t_tar_and_rsync_bring_everything_back]=120
t_tar_and_rsync_bring_everything_back() {
	pair_up
	odd_tree "$TMP/odd"
	tar -C "$TMP" --xattrs --format=pax -Scf "$A/odd.tar" odd
	mkdir "$A/tar" "$A/rsync" "$TMP/back"
	tar -C "$A/tar" --xattrs -xpf "$A/odd.tar"
	same_tree "$TMP/odd" "$A/tar/odd"
	tar -C "$A/tar" --xattrs -df "$A/odd.tar"
	if command -v rsync >/dev/null; then
		rsync -aHXS "$TMP/odd" "$A/rsync/"
		is_equal "$(rsync -aHXSin --delete "$TMP/odd" "$A/rsync/")" "" "what rsync would still do"
		equal_after_remount
		rsync -aHXS "$B/rsync/odd" "$TMP/back/"
		same_tree "$TMP/odd" "$TMP/back/odd"
		is_equal "$(rsync -aHXSin --delete --checksum "$A/rsync/odd" "$TMP/back/")" "" "what rsync would do"
	fi
	equal_after_remount
	same_tree "$TMP/odd" "$B/tar/odd"
	[ "$(du -k "$B/tar/odd/sparse" | cut -f1)" -lt 100 ] || fail "the hole is filled on the right"
}

LIMIT_S[t_a_program_is_built_and_not_built_again]=120
t_a_program_is_built_and_not_built_again() {
	local i
	command -v make >/dev/null && command -v cc >/dev/null || skip "make or cc is missing"
	pair_up
	mkdir "$A/src"
	{
		echo 'OBJS = main.o f1.o f2.o f3.o f4.o f5.o f6.o f7.o f8.o'
		printf 'prog: libf.a main.o\n\tcc -o $@ main.o libf.a\nlibf.a: $(filter f%%,$(OBJS))\n\tar rcs $@ $^\n'
		printf '%%.o: %%.c all.h\n\tcc -O1 -c -o $@ $<\n'
	} >"$A/src/Makefile"
	{
		echo '#include "all.h"'
		printf 'int main(void) { int n = 0;'
		for i in 1 2 3 4 5 6 7 8; do
			echo "int f$i(void);" >>"$A/src/all.h"
			printf '#include "all.h"\nint f%s(void) { return %s; }\n' "$i" "$i" >"$A/src/f$i.c"
			printf ' n += f%s();' "$i"
		done
		echo ' return n == 36 ? 0 : 1; }'
	} >"$A/src/main.c"
	make -s -C "$A/src" -j2
	"$A/src/prog"
	make -q -C "$A/src" || fail "make wants to build again at once"
	equal_after_remount
	"$B/src/prog"
	make -q -C "$B/src" || fail "make wants to build again on the other side"
	sed -i 's/return 3/return 3 + 0/' "$B/src/f3.c"
	is_equal "$(make -C "$B/src" | grep -c -- '-c -o')" 1 "objects built again"
	both_equal
	make -q -C "$A/src" || fail "make wants to build again what the other side built"
	"$A/src/prog"
	# The way back: the left sees the new source as soon as it is there, and builds it.
	sed -i 's/return 4/return 5 - 1/' "$B/src/f4.c"
	wait_synced
	! make -q -C "$A/src" || fail "make does not see the other side's change"
	make -s -C "$A/src" && "$A/src/prog"
	equal_after_remount
}

LIMIT_S[t_saves_appends_and_mappings_arrive_whole]=120
t_saves_appends_and_mappings_arrive_whole() {
	pair_up
	mkdir "$A/w"
	work saves "$A/w"
	work appends "$A/w/log" 5 200
	work maps "$A/w/map"
	seq 2000 >"$A/w/sed"
	sed -i -e 's/^1999$/changed/' "$A/w/sed"
	cp --reflink=auto "$A/w/sed" "$A/w/copy"
	cmp "$A/w/sed" "$A/w/copy"
	if command -v vim >/dev/null; then
		vim -u NONE -es -c 'set backup writebackup fsync' -c '%s/changed/by vim/' -c wq "$A/w/copy" </dev/null
		grep -qx 'by vim' "$A/w/copy"
	fi
	equal_after_remount
	work appends-check "$B/w/log" 5 200
	work appends "$B/w/log" 5 200 # on top of what came from the left
	both_equal
	work appends-check "$A/w/log" 5 400
}

LIMIT_S[t_trees_are_searched_moved_and_removed]=120
t_trees_are_searched_moved_and_removed() {
	local i lister
	pair_up
	work tree "$A/big" 20 60
	python3 -c 'import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2], symlinks=True)' "$A/big" "$A/copy"
	diff -r "$A/big" "$A/copy"
	touch -d '-1 hour' "$A/mark"
	is_equal "$(find "$A/big" -type f -newer "$A/mark" | wc -l)" 1200 "files that are newer"
	touch "$A/mark"
	is_equal "$(find "$A/big" -newer "$A/mark" | wc -l)" 0 "files that are newer than now"
	is_equal "$(du -s --apparent-size -b "$A/copy/d3" | cut -f1)" "$(du -s --apparent-size -b "$A/big/d3" | cut -f1)" du
	mkdir "$A/other"
	mv "$A/copy/d1" "$A/other/moved"
	mv "$A"/copy/d2/* "$A/other/moved/" 2>/dev/null || fail "mv of many"
	equal_after_remount
	is_equal "$(find "$B/other/moved" -type f | wc -l)" 120 "files moved"
	# Removed while others look, here and there.
	for i in "$A/big" "$B/big"; do
		while [ -d "$i" ]; do ls -lR "$i" >/dev/null 2>&1 || :; done &
		lister="${lister:-} $!"
	done
	rm -rf "$A/big"
	[ ! -e "$A/big" ] || fail "something is left"
	wait_synced
	[ ! -e "$B/big" ] || fail "something is left on the right: $(find "$B/big" | head -n 3)"
	# shellcheck disable=SC2086 # a list
	wait $lister
	equal_after_remount
}

LIMIT_S[t_environments_images_and_copies_work]=150
t_environments_images_and_copies_work() {
	local w=$A/w
	pair_up
	mkdir "$w"
	# as package managers leave them: a link for every program, and an interpreter that finds itself by its path
	work links "$w/modules" 40 25
	cp -a "$w/modules" "$w/modules.copy"
	same_tree "$w/modules" "$w/modules.copy"
	rm -r "$w/modules"
	if python3 -c 'import venv' 2>/dev/null; then
		python3 -m venv --without-pip "$w/venv"
		echo 'import sys; sys.exit(not sys.prefix.endswith("/w/venv"))' | "$w/venv/bin/python" - || fail "not its own prefix"
	fi
	# around the cache and through it
	dd if=/dev/urandom of="$w/direct" bs=64k count=40 oflag=direct status=none
	dd if="$w/direct" of="$w/direct2" bs=1M iflag=direct oflag=direct status=none
	dd if="$w/direct" of="$w/direct3" bs=4k oflag=dsync,append conv=notrunc status=none
	cmp "$w/direct" "$w/direct2"
	cmp "$w/direct" "$w/direct3"
	cp --reflink=auto "$w/direct" "$w/reflinked"
	! cp --reflink=always "$w/direct" "$w/none" 2>/dev/null || fail "cp says that it shared blocks"
	# holes stay holes
	truncate -s 200M "$w/sparse"
	echo middle | dd of="$w/sparse" bs=1 seek=99999999 conv=notrunc status=none
	cp "$w/sparse" "$w/sparse2"
	cp --sparse=always "$w/sparse" "$w/sparse3"
	cmp "$w/sparse" "$w/sparse2"
	[ "$(du -ck "$w"/sparse? | tail -n 1 | cut -f 1)" -lt 100 ] || fail "the holes were filled: $(du -k "$w"/sparse?)"
	truncate -s -1M "$w/sparse3"
	truncate -s '<100M' "$w/sparse2"
	fallocate -d "$w/direct3"
	is_equal "$(stat -c %s "$w/sparse3" "$w/sparse2" | tr '\n' ' ')" "208666624 104857600 "
	removed_while_it_grows "$w/grows"
	equal_after_remount
	cmp "$B/w/direct" "$B/w/direct2"
	[ ! -d "$B/w/venv" ] || "$B/w/venv/bin/python" -c 'import sys; sys.exit(not sys.prefix.endswith("/w/venv"))'
}

removed_while_it_grows() {
	local maker i
	mkdir "$1"
	for ((i = 0; i < 600; i++)); do : 2>/dev/null >"$1/f$i" || true; done &
	maker=$!
	while kill -0 "$maker" 2>/dev/null; do find "$1" -mindepth 1 -delete; done
	wait "$maker"
	find "$1" -mindepth 1 -delete
	rmdir "$1"
}

# Another filesystem on top: as the lower layer of an overlay, and as the disk of a loop device.
t_it_can_lie_below_an_overlay_and_a_loop_device() {
	local over=(mount -t overlay o "$TMP/m" -o)
	single_up
	mkdir "$A/lower" "$A/lower/d" "$A/lower/e" "$A/upper" "$A/work" "$TMP/upper" "$TMP/work" "$TMP/m"
	echo low >"$A/lower/f"
	ln "$A/lower/f" "$A/lower/g"
	seq 1000 >"$A/lower/d/h"
	touch "$A/lower/e/i"
	if "${over[@]}" "lowerdir=$A/lower,upperdir=$TMP/upper,workdir=$TMP/work" 2>/dev/null; then
		echo more >>"$TMP/m/f"
		rm "$TMP/m/d/h"
		mv "$TMP/m/g" "$TMP/m/moved"
		rm -r "$TMP/m/e"
		mkdir "$TMP/m/e"
		is_equal "$(cat "$TMP/m/f" "$TMP/m/moved" | tr '\n' ' ')" "low more low "
		is_equal "$(find "$TMP/m" -mindepth 1 -printf '%P\n' | sort | tr '\n' ' ')" "d e f moved "
		umount "$TMP/m"
		# As the upper one it would lose files when the kernel drops its caches.
		! "${over[@]}" "lowerdir=$A/lower,upperdir=$A/upper,workdir=$A/work" 2>/dev/null || fail "an upper layer here"
	fi
	is_equal "$(cat "$A/lower/f" "$A/lower/g" "$A/lower/d/h" | wc -l)" 1002 "lines below the overlay"
	command -v mkfs.ext4 >/dev/null || return 0
	truncate -s 32M "$A/image"
	mkfs.ext4 -q "$A/image"
	mount -o loop "$A/image" "$TMP/m" 2>/dev/null || return 0
	cp -r /usr/include/linux/*.h "$TMP/m/"
	umount "$TMP/m"
	e2fsck -fn "$A/image" >"$TMP/e2fsck" 2>&1 || fail "$(cat "$TMP/e2fsck")"
	sync "$A/image"
	kill_side a
	mount_side a
	e2fsck -fn "$A/image" >"$TMP/e2fsck" 2>&1 || fail "$(cat "$TMP/e2fsck")"
	mount -o loop,ro "$A/image" "$TMP/m"
	cmp /usr/include/linux/fs.h "$TMP/m/fs.h"
	umount "$TMP/m"
}

LIMIT_S[t_an_ordinary_user_works_all_day]=120
t_an_ordinary_user_works_all_day() {
	local home=$E2E_DIR/home
	id -u nobody >/dev/null 2>&1 || skip "there is no user nobody"
	[ -u "$(command -v fusermount3)" ] || skip "fusermount3 is not setuid root"
	mkdir -p "$home/m"
	chown -R nobody "$home"
	chmod 666 /dev/fuse 2>/dev/null || true
	install -m 755 "$TWINFS" "$home/twinfs" # the build may be where only root can go
	cat >"$home/day.sh" <<'DAY'
set -eu
cd "$HOME"
umask 077
printf '[user]\n\tname = n\n\temail = n@example.org\n' >gitconfig
export GIT_CONFIG_GLOBAL=$HOME/gitconfig
./twinfs init s --name mine >/dev/null
./twinfs mount s m
[ "$(stat -c %U m)" = "$(id -un)" ]
mkdir m/work && cd m/work
git init -q . && seq 1000 >f && git add f && git commit -qm one && git gc -q && git fsck --strict
python3 - <<'PY'
import sqlite3
c = sqlite3.connect("db")
c.execute("pragma journal_mode=wal")
c.execute("create table t(x)")
c.executemany("insert into t values(?)", [(i,) for i in range(500)])
c.commit()
assert c.execute("pragma integrity_check").fetchone() == ("ok",)
c.close()
PY
chmod 750 f && [ "$(stat -c %a f)" = 750 ]
! chown 0 f 2>/dev/null
! mknod dev c 1 3 2>/dev/null
cp -a . ../copy && diff -r . ../copy
tar cf - . | tar tf - >/dev/null
sed -i s/500/five/ f && git status --porcelain | grep -q f
cd "$HOME"
rm -rf m/copy
fusermount3 -u m
./twinfs fsck s
./twinfs mount s m
[ "$(cd m/work && git log --oneline | wc -l)" = 1 ]
grep -qx five m/work/f
fusermount3 -u m
DAY
	ns_a setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups env -i HOME="$home" PATH="$PATH" \
		XDG_RUNTIME_DIR="$home" bash "$home/day.sh"
}
