# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # lib.sh is sourced first by ./run
# Names that are different here, and the same to people and to other systems.

LIMIT_S[t_names_equal_but_for_case_of_the_two_sides_both_stay_and_are_noted]=150
t_names_equal_but_for_case_of_the_two_sides_both_stay_and_are_noted() {
	pair_up
	link_cut_down
	wait_apart
	echo left >"$A/Readme"
	echo right >"$B/README"
	link_restore
	wait_together
	same_tree "$A" "$B"
	has_content "$B/Readme" left
	has_content "$A/README" right
	is_equal "$(conflicts_of b | python3 -c 'import json, sys
for c in json.load(sys.stdin): print(c["kind"], c["outcome"], c["resolved"])')" "name merged True" "the note"
	is_equal "$(status_of a conflicts) $(status_of b conflicts)" "0 0" "conflicts that wait"
}
