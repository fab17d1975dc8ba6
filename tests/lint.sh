#!/bin/bash
# SPDX-License-Identifier: MIT
# Our rules as checks. Each says why it is there; output is TAP, and what breaks a rule is listed as FILE:LINE.
# grep and awk only, so that it runs wherever make check runs.
set -u
cd "${top_srcdir:-$(dirname "$0")/..}" || exit 1

CODE_DIRS=(util db core fuse sync node cli tests bench)
mapfile -t code < <(find "${CODE_DIRS[@]}" -name '*.[ch]' | sort)
mapfile -t product < <(find util db core fuse sync node cli -name '*.[ch]' | sort)
mapfile -t texts < <({ find "${CODE_DIRS[@]}" man -name '*.mk' -o -name '*.sh' -o -name '*.py'
	find . -maxdepth 1 -type f \( -name '*.ac' -o -name '*.am' -o -name check -o -name demo -o -name autogen.sh \); } | sort)

n=0 bad=0
# rule NAME REASON: run the function NAME; whatever it prints breaks the rule.
rule() {
	local findings
	findings=$("$1" | head -n 50)
	n=$((n + 1))
	if [ -z "$findings" ]; then
		echo "ok $n - $1"
	else
		bad=$((bad + 1))
		echo "not ok $n - $1"
		sed 's/^/# /' <<<"$findings"
		echo "# why: $2"
	fi
}

every_file_names_its_licence() {
	local f
	for f in "${code[@]}" "${texts[@]}"; do
		head -n 2 "$f" | grep -q 'SPDX-License-Identifier: MIT' || echo "$f:1"
	done
}
rule every_file_names_its_licence "the line is what tools and people look for; put it at the top"

no_call_without_bounds_or_errors() {
	grep -nE '\b(strcpy|strcat|sprintf|vsprintf|gets|atoi|atol|atoll|strtok|alloca|tmpnam|mktemp)\(' "${product[@]}"
}
rule no_call_without_bounds_or_errors "use snprintf, memcpy with a known length, xasprintf, parse_size or strtoull with checks"

includes_are_written_from_the_root() {
	grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "${code[@]}" |
		grep -vE '"(util|db|core|fuse|sync|node|cli|tests|bench)/[^"]*"'
}
rule includes_are_written_from_the_root "one spelling for each header, and the folder shows who depends on whom"

# may_include DIR FOLDERS: list what DIR includes from elsewhere.
may_include() {
	grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' --include='*.[ch]' "$1" | grep -vE "\"($2)/"
}
dependencies_point_downwards() {
	may_include util 'util'
	may_include db 'db|util'
	may_include core 'core|db|util'
	may_include fuse 'fuse|core|db|util'
	may_include sync 'sync|core|db|util'
	may_include node 'node|fuse|sync|core|db|util'
	may_include cli 'cli|node|sync|core|db|util'
}
rule dependencies_point_downwards "fuse, sync -> core -> db -> util; fuse and sync do not know each other"

# Columns, with tabs at 8; continuation bytes of UTF-8 do not count.
lines_fit_in_120_columns() {
	LC_ALL=C awk '{ line = $0; gsub(/[\200-\277]/, "", line); w = 0; k = length(line)
		for (i = 1; i <= k; i++) w = substr(line, i, 1) == "\t" ? w - w % 8 + 8 : w + 1
		if (w > 120) print FILENAME ":" FNR ": " w " columns" }' "${code[@]}"
}
rule lines_fit_in_120_columns "two files side by side on one screen"

no_blanks_at_line_ends() {
	grep -nE '[[:space:]]+$' "${code[@]}" "${texts[@]}"
}
rule no_blanks_at_line_ends "they make noise in diffs"

no_notes_to_self() {
	grep -nE '\b(TO''DO|FIX''ME|XX''X)\b' "${code[@]}" "${texts[@]}"
}
rule no_notes_to_self "finish it, or open an issue that says what is missing"

headers_are_guarded() {
	local f
	for f in "${code[@]}"; do
		case $f in
		*.h) grep -q '^#ifndef TWINFS_' "$f" || echo "$f: no TWINFS_ guard" ;;
		esac
	done
}
rule headers_are_guarded "a header must bear being included twice"

every_source_is_in_a_makefile() {
	local f
	for f in "${code[@]}"; do
		cat ./*/*.mk | grep -qE "(^|[[:space:]])$f([[:space:]]|\$)" || echo "$f"
	done
}
rule every_source_is_in_a_makefile "what is not listed is not in the tarball: list headers in the archive's SOURCES too"

echo "1..$n"
[ -n "${TWINFS_TAP_HARNESS:-}" ] || [ "$bad" -eq 0 ]
