# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# Programs that save by a new file renamed over the old one, on both sides while the link is down; what becomes of each
# case is in tests/test_engine_saves.c.

no_copies() {
	local found
	found=$(find "$A" -name '*conflict*')
	[ -z "$found" ] || fail "there is $found"
}

# has_note KIND OUTCOME PATH
has_note() {
	tw_a conflicts "$A" --json >"$TMP/notes" || return 1
	python3 -c 'import json, sys
sys.exit(sys.argv[2:] not in [[r["kind"], r["outcome"], r["path"]] for r in json.load(open(sys.argv[1]))])' "$TMP/notes" "$@"
}

t_sed_on_both_sides_gives_one_text_where_the_lines_are_different() {
	pair_up
	seq 1 100 >"$A/lines.txt"
	seq 1 100 >"$A/same.txt"
	wait_synced
	link_cut_down
	wait_apart
	sed -i 's/^10$/ten, left/' "$A/lines.txt"
	sed -i 's/^90$/ninety, right/' "$B/lines.txt"
	sed -i 's/^20$/twenty, right/' "$B/lines.txt"
	sed -i 's/^50$/left/' "$A/same.txt"
	sed -i 's/^50$/right/' "$B/same.txt"
	link_restore
	wait_together
	same_tree "$A" "$B"
	has_content "$A/lines.txt" "$(seq 1 100 | sed 's/^10$/ten, left/; s/^90$/ninety, right/; s/^20$/twenty, right/')"
	has_note content merged /lines.txt
	has_content "$A/same.txt" "$(seq 1 100 | sed 's/^50$/left/')"
	has_content "$(echo "$A"/same.conflict-right-*.txt)" "$(seq 1 100 | sed 's/^50$/right/')"
	is_equal "$(find "$A" -name '*conflict*' | wc -l)" 1 'conflict copies'
	# It is one file on both, and goes on as one.
	sed -i '1i first' "$B/lines.txt"
	wait_synced
	is_equal "$(head -n 1 "$A/lines.txt")" first 'first line'
}

t_a_save_meets_what_is_written_in_place() {
	pair_up
	seq 1 100 >"$A/one.txt"
	seq 1 100 >"$A/other.txt"
	wait_synced
	link_cut_down
	wait_apart
	sed -i 's/^10$/ten/' "$A/one.txt"
	echo 101 >>"$B/one.txt"
	echo 101 >>"$A/other.txt"
	sed -i 's/^10$/ten/' "$B/other.txt"
	link_restore
	wait_together
	same_tree "$A" "$B"
	no_copies
	for f in one other; do
		has_content "$B/$f.txt" "$(seq 1 101 | sed 's/^10$/ten/')"
	done
}

# save_json FILE KEY VALUE: as careful programs do
save_json() {
	python3 - "$@" <<'EOF'
import json, os, sys, tempfile
path, key, value = sys.argv[1:]
with open(path) as f:
    settings = json.load(f)
settings[key] = value
fd, tmp = tempfile.mkstemp(dir=os.path.dirname(path))
with os.fdopen(fd, "w") as f:
    json.dump(settings, f, indent=2)
    f.flush()
    os.fsync(f.fileno())
os.chmod(tmp, os.stat(path).st_mode & 0o7777)
os.replace(tmp, path)
EOF
}

t_settings_saved_by_programs_keep_both_sides_keys() {
	pair_up
	printf '{\n  "a": "1",\n  "b": "2",\n  "c": "3",\n  "d": "4",\n  "e": "5"\n}' >"$A/settings.json"
	chmod 640 "$A/settings.json"
	wait_synced
	link_cut_down
	wait_apart
	save_json "$A/settings.json" a left
	save_json "$B/settings.json" e right
	link_restore
	wait_together
	same_tree "$A" "$B"
	no_copies
	has_content "$B/settings.json" "$(printf '{\n  "a": "left",\n  "b": "2",\n  "c": "3",\n  "d": "4",\n  "e": "right"\n}')"
	is_equal "$(stat -c %a "$B/settings.json")" 640 mode
}

# An editor that keeps a backup, twice while apart; and a checkout, which removes the file and writes it anew.
t_backups_and_checkouts() {
	pair_up
	seq 1 100 >"$A/doc"
	git -C "$A" init -q repo
	seq 1 100 >"$A/repo/src.c"
	git -C "$A/repo" add src.c
	git -C "$A/repo" commit -qm one
	sed -i 's/^30$/thirty/' "$A/repo/src.c"
	git -C "$A/repo" commit -qam two
	wait_synced
	link_cut_down
	wait_apart
	sed -i~ 's/^10$/ten/' "$A/doc"
	sed -i~ 's/^90$/ninety/' "$B/doc"
	git -C "$A/repo" checkout -q HEAD~1 -- src.c # changes line 30 back
	sed -i 's/^90$/ninety/' "$B/repo/src.c"
	link_restore
	wait_together
	same_tree "$A" "$B"
	has_content "$A/doc" "$(seq 1 100 | sed 's/^10$/ten/; s/^90$/ninety/')"
	has_content "$A/doc~" "$(seq 1 100)"
	has_content "$B/repo/src.c" "$(seq 1 100 | sed 's/^90$/ninety/')"
	no_copies
}
