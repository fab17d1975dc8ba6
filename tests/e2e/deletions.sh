# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# A side that was emptied while apart must not empty the other one unasked.

is_held() { [ "$(status_of "$1" state)" = paused ] && [[ $(status_of "$1" why) == *"is held back"* ]]; }

emptied_while_apart() {
	local by=$1
	pair_up
	mkdir "$A/photos"
	touch "$A/photos/"{1..150}
	wait_synced
	link_cut_down
	wait_apart
	rm -r "$(mountpoint_of "$by")/photos"
	echo kept >"$A/on-a"
	echo kept >"$B/on-b"
	link_restore
}

t_an_emptied_side_is_asked_about_before_the_other_is_emptied() {
	local rc=0
	emptied_while_apart b
	within "$SOON_S" is_held a
	tw_a status "$A" || rc=$?
	is_equal "$rc" 4 "exit code of status"
	[[ $(status_of a action) == *--confirm-deletes* ]] || fail "action: $(status_of a action)"
	within "$SOON_S" has_state b paused
	is_equal "$(find "$A/photos" -type f | wc -l)" 150 "files still here"
	# Both go on, and a plain resume asks again.
	echo more >>"$A/on-a"
	tw_a resume "$A"
	within "$SOON_S" is_held a
	tw_a resume "$A" --confirm-deletes
	wait_together
	[ ! -e "$A/photos" ]
	has_content "$B/on-a" $'kept\nmore'
	same_tree "$A" "$B"
}

t_what_the_primary_deleted_is_asked_about_at_the_secondary_also_after_a_remount() {
	emptied_while_apart a
	within "$SOON_S" is_held b
	unmount_side b
	mount_side b
	within "$SOON_S" is_held b
	tw_b resume "$B" --confirm-deletes
	wait_together
	[ ! -e "$B/photos" ]
	same_tree "$A" "$B"
}
