# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
# What belongs together stays together: real repositories, changed on both sides while apart.

git_at() { local dir=$1; shift; git --git-dir="$dir" "$@"; }
whole() { git_at "$1" fsck --full --strict >"$TMP/fsck.git" 2>&1 || fail "git fsck of $1: $(cat "$TMP/fsck.git")"; }

LIMIT_S[t_a_repository_committed_to_on_both_sides_is_two_whole_ones]=120
t_a_repository_committed_to_on_both_sides_is_two_whole_ones() {
	local copy side m
	pair_up
	git init -q "$A/repo"
	seq 1 200 >"$A/repo/lines"
	git -C "$A/repo" add lines
	git -C "$A/repo" commit -qm base
	git -C "$A/repo" gc -q
	both_equal
	link_cut_down
	wait_apart
	for n in 1 2 3; do
		echo "left $n" >"$A/repo/left$n"
		git -C "$A/repo" add "left$n"
		git -C "$A/repo" commit -qm "left $n"
		echo "right $n" >"$B/repo/right$n"
		git -C "$B/repo" add "right$n"
		git -C "$B/repo" commit -qm "right $n"
	done
	git -C "$B/repo" gc -q
	link_restore
	wait_together
	both_equal
	copy=$(cd "$A/repo" && echo .git.conflict-right-*)
	for side in a b; do
		m=$(mountpoint_of "$side")/repo
		whole "$m/.git"
		whole "$m/$copy"
		is_equal "$(git_at "$m/.git" log --format=%s | tr '\n' ' ')" 'left 3 left 2 left 1 base ' log
		is_equal "$(git_at "$m/$copy" log --format=%s | tr '\n' ' ')" 'right 3 right 2 right 1 base ' log
	done
	tw_a conflicts "$A" | grep -q 'both sides changed this unit'
	tw_b conflicts "$B" --diff repo/.git | grep -q "diff -r '$B/repo/$copy' '$B/repo/.git'"
	tw_b why "$B/repo/.git/HEAD" | grep -q 'repo/.git/HEAD is in /repo/.git, which is kept as a whole'
	is_equal "$(status_of a conflicts)" 1 'open conflicts'
	tw_b why "$B/repo/.git" | grep -q 'both versions were kept'
	# git itself can take the other history in
	git -C "$A/repo" fetch -q "$A/repo/$copy" HEAD
	rm "$A"/repo/right?
	git -C "$A/repo" merge -q -m both FETCH_HEAD
	whole "$A/repo/.git"
}

# rows a|b...: adds a row to the database at each path, in WAL mode, and leaves the log there, as a program does that is
# still running or was killed.
rows() {
	python3 - "$@" <<-'PY'
		import os, sqlite3, sys
		for path in sys.argv[2:]:
		    db = sqlite3.connect(path)
		    db.execute("PRAGMA journal_mode=WAL")
		    db.execute("PRAGMA wal_autocheckpoint=0")
		    db.execute("CREATE TABLE IF NOT EXISTS t(x)")
		    db.execute("INSERT INTO t VALUES(?)", (sys.argv[1],))
		    db.commit()
		os._exit(0)  # without closing, which would put the log into the database
	PY
}
# what is in a database, read from a copy as reading writes too
rows_in() {
	rm -f "$TMP"/copy.db*
	for tail in '' -wal; do [ ! -e "$1$tail" ] || cp "$1$tail" "$TMP/copy.db$tail"; done
	python3 - "$TMP/copy.db" <<-'PY'
		import sqlite3, sys
		db = sqlite3.connect(sys.argv[1])
		print(db.execute("PRAGMA integrity_check").fetchone()[0], *[r[0] for r in db.execute("SELECT x FROM t ORDER BY rowid")])
	PY
}

LIMIT_S[t_a_database_written_on_both_sides_is_two_whole_ones]=120
t_a_database_written_on_both_sides_is_two_whole_ones() {
	local side m copy
	pair_up
	rows base "$A/app.db"
	wait_synced
	link_cut_down
	wait_apart
	rows left "$A/app.db"
	for n in 1 2 3; do rows "right$n" "$B/app.db"; done
	link_restore
	wait_together
	both_equal
	copy=$(cd "$A" && echo app.conflict-right-*.db)
	[ -s "$A/$copy-wal" ] || fail "there is no log beside $copy: $(ls "$A")"
	for side in a b; do
		m=$(mountpoint_of "$side")
		is_equal "$(rows_in "$m/app.db")" 'ok base left' 'rows in place'
		is_equal "$(rows_in "$m/$copy")" 'ok base right1 right2 right3' 'rows in the copy'
	done
	tw_b conflicts "$B" --resolve "$B/app.db" --keep local
	both_equal
	is_equal "$(rows_in "$A/app.db")" 'ok base right1 right2 right3' 'rows after settling'
	[ ! -e "$A/$copy-wal" ] || fail "the log of the copy was left"
}
