# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# Programs on the secondary that have a file open while it becomes something else: they go on where their bytes are.

copy_of() { echo "$A/$1".conflict-right-*; }

one_copy() { is_equal "$(find "$A" -name '*conflict*' | wc -l)" 1 'conflict copies'; }

t_who_has_a_file_open_when_it_gets_in_conflict_writes_on_in_its_copy() {
	pair_up
	echo before >"$A/doc"
	wait_synced
	link_cut_down
	wait_apart
	exec 5>>"$B/doc" 6<"$B/doc"
	echo left >"$A/doc"
	echo right >"$B/doc"
	echo 'right too' >&5
	link_restore
	wait_together
	echo 'and on' >&5
	wait_synced
	sed -n 3p <&6 >"$TMP/read"
	has_content "$TMP/read" 'and on'
	has_content "$A/doc" left
	has_content "$(copy_of doc)" "$(printf 'right\nright too\nand on')"
	is_equal "$(stat -L -c %i "/proc/$BASHPID/fd/5")" "$(stat -c %i "$B"/doc.conflict-right-*)" 'inode of what is open'
	one_copy
	same_tree "$A" "$B"
	is_equal "$(conflicts_of b | python3 -c 'import json, sys; print(len(json.load(sys.stdin)))')" 1 conflicts
	# Who opens the file now has the other side's.
	echo 'right again' >>"$B/doc"
	wait_synced
	has_content "$A/doc" "$(printf 'left\nright again')"
	exec 5>&- 6<&-
	both_equal
}

t_who_has_open_what_became_one_with_an_equal_file_writes_on_in_it() {
	pair_up
	link_cut_down
	wait_apart
	echo same >"$A/new"
	echo same >"$B/new"
	exec 5>>"$B/new"
	link_restore
	wait_together
	echo more >&5
	wait_synced
	has_content "$A/new" "$(printf 'same\nmore')"
	same_tree "$A" "$B"
	is_equal "$(find "$A" -name '*conflict*' | wc -l)" 0 'conflict copies'
	exec 5>&-
}

# Each line of stdin goes into the mapped file, at its beginning.
mapper() {
	python3 -c '
import mmap, os, sys
m = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 0)
for line in sys.stdin:
    m[:len(line)] = line.encode()
    m.flush()
    print(line, end="", flush=True)' "$1"
}

t_a_mapping_writes_on_in_the_copy() {
	local said
	pair_up
	head -c 8192 /dev/zero >"$A/data.bin"
	wait_synced
	coproc mapper "$B/data.bin"
	echo one >&"${COPROC[1]}"
	read -r said <&"${COPROC[0]}"
	wait_synced
	link_cut_down
	wait_apart
	printf 'left' | dd of="$A/data.bin" conv=notrunc status=none
	echo right >&"${COPROC[1]}"
	read -r said <&"${COPROC[0]}"
	link_restore
	wait_together
	echo onward >&"${COPROC[1]}"
	read -r said <&"${COPROC[0]}"
	is_equal "$said" onward 'what the program said'
	exec {COPROC[1]}>&-
	wait_synced
	is_equal "$(head -c 4 "$B/data.bin")" left 'the file'
	is_equal "$(head -c 6 "$A"/data.conflict-right-*)" onward 'the copy'
	one_copy
	same_tree "$A" "$B"
}

# Each line of stdin is a row of table t of a database in WAL mode, kept open.
inserter() {
	python3 -c '
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
print(*db.execute("pragma journal_mode=wal").fetchone(), flush=True)
db.execute("pragma wal_autocheckpoint=0")
db.execute("create table if not exists t(x)")
for line in sys.stdin:
    db.execute("insert into t values(?)", (line.strip(),))
    print(*db.execute("select group_concat(x) from t").fetchone(), flush=True)' "$1"
}

# Of a database and its log as they are, elsewhere.
rows_of() {
	cp "$1" "$TMP/rows.db" && cp "$1-wal" "$TMP/rows.db-wal"
	rm -f "$TMP/rows.db-shm"
	python3 -c '
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
for query in "pragma integrity_check", "select group_concat(x) from t":
    print(*db.execute(query).fetchone())' "$TMP/rows.db"
}

t_a_database_that_a_program_has_open_goes_on_whole_in_its_copy() {
	local said copy program
	pair_up
	coproc inserter "$B/app.db"
	program=$COPROC_PID
	read -r said <&"${COPROC[0]}"
	is_equal "$said" wal 'the journal mode'
	echo before >&"${COPROC[1]}"
	read -r said <&"${COPROC[0]}"
	wait_synced
	link_cut_down
	wait_apart
	python3 -c '
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("insert into t values(?)", ("left",))
os._exit(0)  # the log stays' "$A/app.db"
	echo right >&"${COPROC[1]}"
	read -r said <&"${COPROC[0]}"
	link_restore
	wait_together
	echo onward >&"${COPROC[1]}"
	read -r said <&"${COPROC[0]}"
	is_equal "$said" before,right,onward 'what the program has'
	exec {COPROC[0]}<&-
	wait_synced
	copy=$(echo "$A"/app.conflict-right-*.db)
	is_equal "$(rows_of "$copy")" "$(printf 'ok\nbefore,right,onward')" 'the copy'
	is_equal "$(rows_of "$A/app.db")" "$(printf 'ok\nbefore,left')" 'the database'
	exec {COPROC[1]}>&-
	wait "$program" # SQLite removes the log of a database when it closes, by the name that that had: not ours
	both_equal
	is_equal "$(rows_of "$A/app.db")" "$(printf 'ok\nbefore,left')" 'the database, when the program has ended'
}

t_a_program_in_a_directory_that_became_one_with_another_works_on() {
	pair_up
	link_cut_down
	wait_apart
	mkdir "$A/dir" "$B/dir"
	echo left >"$A/dir/left"
	echo right >"$B/dir/right"
	cd "$B/dir"
	link_restore
	wait_together
	has_content left left
	has_content right right
	echo new >new
	mkdir sub
	mv right sub/
	is_equal "$(ls "$B/dir")" "$(printf 'left\nnew\nsub')" 'the listing by its path'
	is_equal "$(/bin/pwd)" "$B/dir" 'its path'
	cd /
	both_equal
	has_content "$A/dir/sub/right" right
}

# A log that a program on the secondary writes to all the time, line by line, is rewritten on the primary.
logger() {
	python3 -c '
import os, sys, time
f = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
n = 0
while not os.path.exists(sys.argv[2]):
    n += 1
    os.write(f, b"%d\n" % n)
    time.sleep(0.02)
print(n)' "$1" "$2"
}

t_a_program_that_never_stops_writing_has_it_all_in_one_copy() {
	local pid n
	pair_up
	: >"$A/out.dat"
	printf '\0\1\2before\n' >"$A/out.dat"
	wait_synced
	logger "$B/out.dat" "$TMP/stop" >"$TMP/lines" &
	pid=$!
	for round in 1 2; do
		link_cut_down
		wait_apart
		printf '\0\1\2left %s\n' "$round" >"$A/out.dat"
		sleep 0.3
		link_restore
		wait_state a connected 90
		wait_state b connected 90
		sleep 0.5
	done
	touch "$TMP/stop"
	wait "$pid"
	n=$(cat "$TMP/lines")
	wait_together
	same_tree "$A" "$B"
	is_equal "$(tail -c 7 "$A/out.dat")" 'left 2'
	has_content <(tail -n +2 "$A"/out.conflict-right-*.dat) "$(seq 1 "$n")"
	one_copy
}
