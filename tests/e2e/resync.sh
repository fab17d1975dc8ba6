# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# Coming back together takes as long as the changes take to cross; meanwhile people work, look at the progress, and
# things break again.

# link_rate RATE: the cable takes so much from each side; `none` is as fast as it gets.
link_rate() {
	local side
	for side in a b; do
		by_side "$side" tc qdisc del dev link0 root 2>/dev/null || true
		[ "$1" = none ] || by_side "$side" tc qdisc add dev link0 root tbf rate "$1" burst 128kb latency 200ms
	done
}

# What the cable has taken from side a, in bytes.
link_bytes() {
	ip -n "$NS_A" -s -j link show link0 |
		python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["stats64"]["tx"]["bytes"])'
}

# Random bytes, so that they are as many on the wire.
put_mib() { head -c "$(($2 << 20))" /dev/urandom >"$1"; }

# 2 MiB/s while the cable has 12: the backlog shrinks, and once it is through the two are together though the writing
# goes on.
LIMIT_S[t_a_resync_under_a_write_rate_below_the_links_ends]=150
t_a_resync_under_a_write_rate_below_the_links_ends() {
	local writer
	pair_up
	link_rate 100mbit
	link_cut_down
	wait_apart
	put_mib "$A/backlog" 48
	(i=0; while [ ! -e "$TMP/enough" ]; do
		put_mib "$A/write-$((i % 7))" 1
		i=$((i + 1))
		sleep 0.5
	done) &
	writer=$!
	link_restore
	wait_state a connected 90
	wait_state b connected 90
	is_equal "$(stat -c %s "$B/backlog")" "$((48 << 20))" "what had piled up is there while the writing goes on"
	kill -0 "$writer" || fail "the writer has ended"
	touch "$TMP/enough"
	wait "$writer"
	both_equal
}

# The numbers of `status`: done never falls, total never shrinks, done reaches total, and an ETA is given.
LIMIT_S[t_progress_goes_up_to_the_total_and_gives_an_eta]=120
t_progress_goes_up_to_the_total_and_gives_an_eta() {
	pair_up
	link_rate 50mbit
	link_cut_down
	wait_apart
	put_mib "$A/one" 12
	put_mib "$A/two" 12
	link_restore
	python3 - "$TWINFS" "$B" >"$TMP/seen" <<-'END' || fail "progress of side b: $(cat "$TMP/seen")"
		import json, subprocess, sys, time
		seen, end = [], time.monotonic() + 100
		while time.monotonic() < end:
		    out = subprocess.run([sys.argv[1], "status", sys.argv[2], "--json"], stdout=subprocess.PIPE).stdout
		    status = json.loads(out)[0]
		    if status["resync"]:
		        seen.append(status["resync"])
		    elif status["state"] == "connected":
		        break
		    time.sleep(0.05)
		print(seen)
		moving = [s for s in seen if s["bytes_total"]]
		done, total = ([s[k] for s in moving] for k in ("bytes_done", "bytes_total"))
		assert done == sorted(done) and total == sorted(total), "a number went back"
		assert all(d <= t for d, t in zip(done, total)), "more than all"
		assert total[-1] >= 24 << 20 and total[-1] < 25 << 20, "the total is not what there is"
		half = [s for s in moving if 0.2 < s["bytes_done"] / s["bytes_total"] < 0.9]
		assert half, "nothing was seen on its way"
		early = [s for s in half if s["bytes_done"] < 16 << 20]
		assert all(s["eta_s"] >= 1 and s["bytes_per_s"] > 0 for s in early), "no ETA"
		assert all(s["direction"] == "receive" for s in half), "the direction"
	END
	both_equal
}

# Cut, the receiver killed, the sender killed: what has crossed does not cross again.
LIMIT_S[t_a_transfer_that_is_cut_and_whose_ends_die_sends_little_twice]=150
t_a_transfer_that_is_cut_and_whose_ends_die_sends_little_twice() {
	local before sent
	pair_up
	link_rate 100mbit
	link_cut_down
	wait_apart
	put_mib "$A/one" 30
	put_mib "$A/two" 30
	before=$(link_bytes)
	link_restore
	within 60 crossed "$before" 15
	link_cut_down
	wait_apart
	link_restore
	within 60 crossed "$before" 30
	kill_side b
	mount_side b
	within 60 crossed "$before" 45
	kill_side a
	mount_side a
	wait_together
	sent=$(($(link_bytes) - before))
	note "60 MiB took $((sent >> 20)) MiB on the wire"
	[ "$sent" -lt "$((80 << 20))" ] || fail "60 MiB took $sent bytes on the wire"
	same_tree "$A" "$B"
}
# crossed BEFORE MIB: since the count was BEFORE
crossed() { [ "$(($(link_bytes) - $1))" -ge "$(($2 << 20))" ]; }

# Thousands of entries are there at once when their change set has arrived, for whoever looks while they are put in place
# one by one; and if the side dies meanwhile they are all there after it.
LIMIT_S[t_a_large_change_set_is_there_at_once_and_whole_after_kill_9]=150
t_a_large_change_set_is_there_at_once_and_whole_after_kill_9() {
	local other=b there=$B here=$A seen
	pair_up
	mkdir "$A/old"
	for i in $(seq 2000); do echo "old $i"; done | split -l 1 -d -a 4 - "$A/old/f"
	both_equal
	link_cut_down
	wait_apart
	mkdir "$A/new"
	for i in $(seq 4000); do echo "new $i"; done | split -l 1 -d -a 4 - "$A/new/f"
	(cd "$A/old" && for f in f000?; do mv "$f" "../new/moved-$f"; done; rm f1*)
	echo last >"$A/last"
	link_restore
	within 60 test -e "$there/last" || fail "nothing came"
	# The one file is there, so is all of it, in whatever order it is asked for.
	is_equal "$(cat "$there/new/f3999")" "new 4000" "the last of the new files"
	is_equal "$(find "$there/new" -name 'f*' | wc -l)" 4000 "new files that are listed"
	[ ! -e "$there/old/f1999" ] || fail "what was removed is there still"
	kill_side "$other"
	mount_side "$other"
	is_equal "$(cat "$there/new/moved-f0003")" "old 4" "a file that was moved"
	seen=$(find "$there/old" -type f | wc -l)
	is_equal "$seen" "$(find "$here/old" -type f | wc -l)" "old files that are left"
	both_equal
}
