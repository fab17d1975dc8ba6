#!/bin/bash
# SPDX-License-Identifier: MIT
# The twinfs command where it needs no mount: help, exit codes, error lines, new stores, status of a store that is not mounted.
set -u
twinfs=${TWINFS:-$PWD/twinfs}
dir=$(mktemp -d "${TMPDIR:-/tmp}/twcli.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1

n=0 bad=0
ok() { # ok NAME CMD...
	local name=$1
	shift
	n=$((n + 1))
	if "$@" >out 2>err; then
		echo "ok $n - $name"
	else
		bad=$((bad + 1))
		echo "not ok $n - $name"
		sed 's/^/# /' out err
	fi
}

# fails CODE PATTERN ARGS...: twinfs ARGS exits with CODE and prints one line on stderr that matches, and nothing on stdout.
fails() {
	local code=$1 pattern=$2 rc=0
	shift 2
	timeout 60 "$twinfs" "$@" >o 2>e || rc=$?
	[ "$rc" -eq "$code" ] && [ ! -s o ] && [ "$(wc -l <e)" -eq 1 ] && grep -q '^twinfs: ' e && grep -qE -- "$pattern" e && return
	echo "exit code $rc, stdout '$(cat o)', stderr '$(cat e)'"
	return 1
}
# The lock file has the pid of whoever looked last.
print_of() { (cd "$1" && find . -type f ! -name '*-shm' ! -name lock -exec sha256sum {} + | sort); }
# unchanged DIR CMD...
unchanged() {
	local where=$1 before
	shift
	before=$(print_of "$where")
	"$@" && [ "$(print_of "$where")" = "$before" ]
}

# ---- usage

t_help() {
	"$twinfs" --help | grep -q 'twinfs mount STORE MOUNTPOINT' && "$twinfs" --version | grep -qE '^twinfs [0-9]' || return
	local c
	for c in init invite join mount status wait pause resume conflicts policy baseline verify scrub fsck resize promote \
		forget-peer events why; do
		"$twinfs" "$c" --help | grep -q "^usage: twinfs $c" || { echo "$c"; return 1; }
	done
}
ok "every command has help" t_help
ok "no command is wrong usage" fails 2 'which command'
ok "an unknown command is wrong usage" fails 2 'no command "dance"' dance
ok "a missing argument is wrong usage" fails 2 'missing: twinfs mount STORE MOUNTPOINT' mount
ok "an argument too many is wrong usage" fails 2 '"b" is one argument too many' init a b
ok "an unknown option is wrong usage" fails 2 'no option --colour' status --colour
ok "an option without its value is wrong usage" fails 2 'needs a value' init s --name
ok "a bad size is wrong usage" fails 2 '"lots" is no size' init s --size lots
ok "a bad node name is wrong usage" fails 2 "cannot be a node's name" init s --name 'a/b'
ok "a bad duration is wrong usage" fails 2 'no duration' pause s --for soon
ok "a bad timeout is wrong usage" fails 2 'no number' wait s --timeout inf
ok "keep without resolve is wrong usage" fails 2 'belong together' conflicts s --keep both
ok "keep takes three words" fails 2 'local, peer or both' conflicts s --resolve /x --keep mine
ok "wrong usage makes nothing" test ! -e s

# ---- init

t_init() {
	"$twinfs" init s --name left --size 2G >id && grep -qE '^[0-9a-f]{32}$' id && [ "$(wc -l <id)" -eq 1 ] &&
		[ -e s/twinfs.db ] && [ -e s/image ] && [ -e s/node.crt ] && [ "$(stat -c %a s/node.key)" = 600 ]
}
ok "init makes a store and prints its node id" t_init
ok "init leaves a store that is there alone" unchanged s fails 1 'already a twinfs store' init s
mkdir full && echo mine >full/precious
ok "init leaves a folder with other things alone" unchanged full fails 1 'neither empty nor' init full
ok "init needs the parent" fails 1 'make its parent first' init no/such/s
mkdir empty
ok "an argument that is empty is wrong usage" fails 2 'empty' init ''
ok "so is a mountpoint" fails 2 'empty' mount empty ''
ok "init takes an empty folder" "$twinfs" init empty
# It had been unmounted now each time somebody looked.
t_since() {
	local before
	before=$("$twinfs" status empty --json | grep '"since"')
	sleep 1.1
	[ "$before" = "$("$twinfs" status empty --json | grep '"since"')" ]
}
ok "since when a store is not mounted does not change by looking" t_since
t_default_name() { "$twinfs" status empty --json | grep -qE '"node": "[A-Za-z0-9._-]{1,32}"'; }
ok "the default name is legal" t_default_name

mkdir half && : >half/twinfs.db.new && echo part >half/image && echo part >half/node.key
ok "init begins anew where one was cut short" "$twinfs" init half
mkdir half2 && : >half2/twinfs.db.new && echo mine >half2/precious
ok "what was cut short does not take other files with it" fails 1 'neither empty nor' init half2
ok "they are still there" grep -q mine half2/precious

# ---- status

keys='action baseline conflicts error generation groups losses merged mountpoint node node_id peer pending prefer resync role scrub since space state store verify volume why'
t_status_json() {
	"$twinfs" status s --json >j || return
	local have
	# top-level keys stand at four blanks
	have=$(grep -oE '^    "[a-z_]+":' j | tr -d ' ":' | sort | tr '\n' ' ')
	[ "$have" = "$keys " ] || { echo "keys: $have"; return 1; }
	grep -q '"state": "unmounted"' j && grep -q '"role": "none"' j && grep -q '"peer": null' j && grep -q '"node": "left"' j &&
		grep -q "\"node_id\": \"$(cat id)\"" j && grep -q '"size": 2147483648' j && grep -q '"mountpoint": null' j &&
		grep -qE '"since": "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z"' j && grep -q "\"store\": \"$dir/s\"" j
}
ok "status --json of a store has every key" t_status_json
t_status_people() { "$twinfs" status s >o && grep -q "^$dir/s: unmounted since" o && grep -q "do  *twinfs mount $dir/s" o; }
ok "status for people says what to do" t_status_people
ok "status of no store exits 4" fails 4 'neither a twinfs store nor' status full
ok "status of nothing exits 4" fails 4 'No such file' status nothing
t_conflicts() { [ "$("$twinfs" conflicts s --json)" = '[]' ] && [ "$("$twinfs" conflicts s)" = 'no conflicts' ]; }
ok "a new store has no conflicts" t_conflicts
ok "there is no conflict to resolve" fails 1 'conflict' conflicts s --resolve /x --keep both
ok "commands look through a symbolic link" sh -c "ln -s s link && '$twinfs' status link >/dev/null"

t_fsck() { "$twinfs" fsck s >o && grep -q "^$dir/s: whole; " o; }
ok "fsck finds a new store whole" t_fsck
ok "fsck needs a store" fails 1 'neither a twinfs store nor' fsck full
t_scrub() {
	"$twinfs" scrub s >o && grep -q '^s: every block is what was written' o &&
		"$twinfs" status s --json | grep -A2 '"scrub"' | grep -q '"last": "2'
}
ok "scrub finds nothing in a new store, and the status remembers when" t_scrub
ok "scrub needs a store" fails 1 'neither a twinfs store nor' scrub full

# ---- what needs a mount

for c in wait pause resume verify; do
	ok "$c says that the store is not mounted" unchanged s fails 1 'is not mounted; mount it first' "$c" s
done

# ---- invite and join

t_invite() { "$twinfs" invite s --listen 127.0.0.1:1 >token && [ "$(wc -w <token)" -eq 1 ]; }
ok "invite prints one word" t_invite
ok "invite refuses a bad address" fails 1 'port|PORT' invite s --listen 127.0.0.1:99999
ok "join refuses a garbled token" fails 1 'token' join not-a-token new
ok "join refuses a token with a letter changed" fails 1 'token' join "$(sed 's/x$/y/;t;s/.$/x/' token)" new
ok "join names a primary that does not answer" fails 1 '127.0.0.1:1' join "$(cat token)" new
ok "a join that failed leaves nothing" test ! -e new
ok "join refuses a bad name" fails 1 "node's name" join "$(cat token)" new --name 'a b'

# ---- mount, as far as it is refused

mkdir m
ok "mount needs a store" unchanged full fails 1 'is not a twinfs store' mount full m
ok "mount says which store is missing" fails 1 'cannot use the store nothing' mount nothing m
ok "mount as mount.fuse3 calls it needs a store as well" fails 1 'is not a twinfs store' ./full m -o rw
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	chmod 755 .
	install -m 755 "$twinfs" own
	as_nobody() { # as_nobody CODE PATTERN ARGS...
		local rc=0
		setpriv --reuid 65534 --regid 65534 --clear-groups ./own "${@:3}" >o 2>e || rc=$?
		[ "$rc" -eq "$1" ] && [ "$(wc -l <e)" -eq 1 ] && grep -q "$2" e
	}
	ok "mount says that a store is somebody else's" as_nobody 1 'may not look into .*/s;' mount s m
	ok "and so does status" as_nobody 4 'may not look into s;' status s
	rm own
fi
ok "mount -o baseline wants a baseline" fails 1 'has no baseline: it has no peer' mount s m -o ro,baseline
ok "a damaged store is refused" sh -c "cp -r s broken && rm -f broken/twinfs.db-* &&
	dd if=/dev/urandom of=broken/twinfs.db bs=4k count=2 conv=notrunc status=none"
ok "and nothing in it is changed" unchanged broken fails 1 'broken' mount broken m

# ---- policies

ok "a store has no policies at first" sh -c '"$1" policy s | grep -q "no policies"' - "$twinfs"
ok "a policy is set" sh -c '"$1" policy s set "*.ini" text && "$1" policy s set photos/ keep-both' - "$twinfs"
ok "and listed" sh -c '"$1" policy s --json | grep -q "\"pattern\": \"photos/\""' - "$twinfs"
ok "and unset" sh -c '"$1" policy s unset "*.ini" && ! "$1" policy s | grep -q ini' - "$twinfs"
ok "a word that is no policy is refused" unchanged s fails 1 'no policy; there are keep-both' policy s set x merge
ok "unsetting what is not set is refused" unchanged s fails 1 'no policy is set for' policy s unset '*.none'
ok "policy wants to know which one" unchanged s fails 2 'policy WHERE' policy s set x

# ---- space

ok "a limit is set" sh -c '"$1" resize s 1G | grep -q "1.0 GiB, 0 bytes used"' - "$twinfs"
ok "and shown" sh -c '"$1" status s --json | grep -q "\"limit\": 1073741824"' - "$twinfs"
ok "and lifted" sh -c '"$1" resize s none | grep -q "no limit"' - "$twinfs"
ok "a size of nonsense is wrong usage" unchanged s fails 2 'is no size' resize s 10X
ok "a size that is too small is refused" unchanged s fails 1 'the least is 1M' resize s 1000
ok "a store of such a size is refused" fails 1 'the least is 1M' init tiny --size 1000

# ---- what is refused

ok "verify needs a store" fails 1 'neither a twinfs store nor' verify full
ok "verify --repair is not pretended" unchanged s fails 1 '--repair is not available in this version; twinfs verify s' \
	verify s --repair
ok "and needs a store all the same" fails 1 'neither a twinfs store nor' verify full --repair
ok "verify wants to know of what" fails 2 'missing: twinfs verify WHERE' verify
ok "there must be a pair to change roles in" unchanged s fails 1 'has no peer' promote s
ok "there must be a peer to forget" unchanged s fails 1 'has no peer' forget-peer s
ok "baseline wants a baseline" fails 1 'has no baseline: it has no peer' baseline s ls
ok "baseline wants one of its words" fails 2 'none of ls, cat, restore' baseline s dance x
ok "baseline cat wants a path" fails 2 'of what' baseline s cat
ok "events wants a mount" fails 1 'is not mounted' events s
ok "why knows nothing of what is not there" sh -c '"$1" why s none | grep -q "nothing is known of it"' - "$twinfs"
ok "why wants a mount or a store" fails 1 'not below a mountpoint' why m/x

echo "1..$n"
[ -n "${TWINFS_TAP_HARNESS:-}" ] || [ "$bad" -eq 0 ]
