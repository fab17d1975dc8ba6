# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
# twinfs why: what happened to a file, in a sentence; twinfs events: what happens, as it happens.

# says a|b PATH PATTERN
says() {
	local out
	out=$(tw "$1" why "$2") || fail "why $2 failed"
	grep -qiE -- "$3" <<<"$out" || fail "why $2 says '$out', nothing about '$3'"
}

t_why_tells_what_a_merge_did_to_each_file() {
	pair_up
	seq 1 30 >"$A/lines.txt"
	echo base >"$A/both"
	echo base >"$A/gone.txt"
	echo base >"$A/calm"
	mkdir "$A/dir"
	echo base >"$A/dir/moved"
	both_equal
	says a "$A/calm" 'calm is the same on both sides; no conflict'
	says b "$B/nothing" 'nothing is known of it'
	link_cut_down
	wait_apart
	sed '1s/.*/left/' "$A/lines.txt" >"$TMP/edited" && cat "$TMP/edited" >"$A/lines.txt"
	sed '30s/.*/right/' "$B/lines.txt" >"$TMP/edited" && cat "$TMP/edited" >"$B/lines.txt"
	echo left >"$A/both"
	echo right >"$B/both"
	rm "$A/gone.txt"
	echo changed >"$B/gone.txt"
	echo l >"$A/same-name"
	mkdir "$B/same-name"
	mv "$A/dir/moved" "$A/here"
	says a "$A/both" 'was changed here \(.*content.*\), which the peer has not confirmed'
	says a "$A/gone.txt" 'was deleted here, which the peer has not confirmed yet; the baseline has it'
	says a "$A/dir/moved" 'was moved to /here, which the peer has not'
	link_restore
	wait_together
	both_equal
	local side m copy
	copy=$(cd "$A" && echo both.conflict-*)
	for side in a b; do
		m=$(mountpoint_of "$side")
		says "$side" "$m/lines.txt" 'changed on both sides; they were merged at .*same on both sides'
		says "$side" "$m/both" "both versions were kept .*here is left's, right's is /$copy; it waits for you"
		says "$side" "$m/$copy" "is the version that right had of /both"
		says "$side" "$m/same-name" "both sides gave the name .*because the name was taken"
		says "$side" "$m/$(cd "$m" && echo same-name.conflict-*)" "is right's; it was renamed .* the name /same-name was taken"
	done
	is_equal "$(tw_b why "$B/both" --json | python3 -c 'import json, sys; v = json.load(sys.stdin); print(v["state"], v["last"]["role"], v["last"]["outcome"])')" \
		"identical original kept-both"
	# a store that is not mounted has the same to say
	unmount_side b
	tw_b why "$SB" /lines.txt | grep -q 'they were merged'
	refused_b 'not below a mountpoint' why "$B/lines.txt"
}

# event PATTERN: is there such a line by now?
event() { grep -q -- "$1" "$TMP/events"; }

t_paths_of_any_bytes_can_be_asked_about() {
	local dir=$'d\xfe' file=$'d\xfe/f\xff' both=$'g\xff'
	pair_up
	mkdir "$A/$dir"
	echo base >"$A/$file"
	echo base >"$A/$both"
	wait_synced
	tw_a pause "$A" >"$TMP/out"
	wait_state b paused
	rm "$A/$file"
	echo left >"$A/$both"
	echo right >"$B/$both"
	tw_a why "$A/$file" >"$TMP/out"
	grep -q 'was deleted here' "$TMP/out" || fail "$(cat "$TMP/out")"
	is_equal "$(tw_a baseline "$A" cat "$file")" base
	tw_a baseline "$A" ls "$dir" >"$TMP/out"
	grep -q ' f' "$TMP/out" || fail "$(cat "$TMP/out")"
	tw_a baseline "$A" restore "$file" >"$TMP/out"
	has_content "$A/$file" base
	refused_a 'No such file' baseline "$A" cat $'nothing\xff'
	tw_a resume "$A" >"$TMP/out"
	wait_together
	tw_b conflicts "$B" --diff "$both" >"$TMP/out" || [ $? -eq 1 ]
	grep -q '^+left' "$TMP/out" || fail "$(cat "$TMP/out")"
	refused_b 'no conflict of' conflicts "$B" --resolve $'nothing\xff' --keep local
	tw_b conflicts "$B" --resolve "$both" --keep local >"$TMP/out"
	has_content "$B/$both" right
	wait_synced
	both_equal
}

t_events_tell_what_happens_as_it_happens() {
	pair_up
	ns_b "$TWINFS" events "$B" --json >"$TMP/events" 2>"$TMP/events.err" &
	local follower=$!
	within "$SOON_S" event '"state":"connected"'
	echo x >"$A/x"
	within "$SOON_S" event '"event":"applied"'
	link_cut_down
	within "$SOON_S" event '"state":"disconnected"'
	echo left >"$A/x"
	echo right >"$B/x"
	sync "$A" "$B"
	link_restore
	within 90 event '"event":"conflict"'
	within "$SOON_S" event '"event":"resync","phase":"end"'
	tw_a pause "$A" --reason 'the cat is on the cable'
	within "$SOON_S" event '"state":"paused".*the cat is on the cable'
	python3 - "$TMP/events" <<-'EOF'
		import json, sys
		seen = [json.loads(line) for line in open(sys.argv[1])]
		assert all(e["text"] and e["time"].endswith("Z") for e in seen), seen
		assert any(e["event"] == "applied" and e["entries"] >= 1 and e["shipments"] >= 1 for e in seen), seen
		c = [e for e in seen if e["event"] == "conflict"]
		assert len(c) == 1 and c[0]["path"] == "/x" and c[0]["outcome"] == "kept-both", c
	EOF
	# one that hangs up, and one for people, do not disturb
	ns_b timeout 2 "$TWINFS" events "$B" | head -n 1 | grep -q 'paused'
	unmount_side b
	wait "$follower" || fail "the follower failed: $(cat "$TMP/events.err")"
	tail -n 1 "$TMP/events" | grep -q '"event":"unmounted"'
	refused_b 'is not mounted' events "$SB"
}
