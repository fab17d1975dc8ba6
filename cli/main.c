/* SPDX-License-Identifier: MIT */
#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "node/store.h"
#include "util/util.h"

#ifndef PACKAGE_VERSION
#error "PACKAGE_VERSION comes from configure"
#endif

static const struct command commands[] = {
	{ "init", "STORE [--name NODE] [--size SIZE]", "make an empty store; print its node id",
	  "  --name NODE   this node's name, 1 to 32 letters, digits, '.', '_' or '-'\n"
	  "                (default: the host's name); it labels conflict copies\n"
	  "  --size SIZE   the most that the store may hold, such as 500M or 20G\n"
	  "                (default: what the disk has)\n",
	  cmd_init },
	{ "invite", "STORE [--listen HOST:PORT]", "print a one-use token for the peer; this store becomes the primary",
	  "  --listen HOST:PORT   where to listen for the peer, and where the peer finds\n"
	  "                       this machine (default: port 7440 on every address; the\n"
	  "                       token then names this machine's first global address)\n\n"
	  "The token is good for one peer and for 24 hours; a new one replaces one that\n"
	  "was not used. Whoever has it can become the peer: hand it over as you would a\n"
	  "password.\n",
	  cmd_invite },
	{ "join", "TOKEN STORE [--name NODE]", "make STORE as the secondary of the pair that the token is for",
	  "  --name NODE   this node's name (default: the host's name)\n\n"
	  "The primary must be mounted. When this fails nothing is left behind, and the\n"
	  "token can be used again.\n",
	  cmd_join },
	{ "address", "WHERE [HOST:PORT]", "where this side listens, or where it finds the peer",
	  "  HOST:PORT   the machine that listens has moved: on that machine where to listen\n"
	  "              from now on (:PORT: on every address), on the other where it is\n\n"
	  "Without it the address is printed. Nothing else changes, and no new token is\n"
	  "needed: the peer is known by its key.\n",
	  cmd_address },
	{ "mount", "STORE MOUNTPOINT [-f] [-o OPTIONS]", "mount a store; in the background unless -f",
	  "  -f           stay in the foreground and log to stderr\n"
	  "  -o OPTIONS   comma-separated: ro, allow_other, noexec, nosuid, nodev,\n"
	  "               sync, dirsync and their opposites; sync=peer: fsync returns when\n"
	  "               the peer has it as well, while it is connected; inotify: tell who\n"
	  "               watches of what the peer changes; baseline: mount\n"
	  "               the tree as both sides last had it, read-only, beside the store's\n"
	  "               own mount or without it\n\n"
	  "The mount is ready when the command returns. fusermount3 -u MOUNTPOINT, or\n"
	  "SIGTERM, unmounts: what is pending is shipped first (for at most 10 seconds)\n"
	  "and the peer is told. In the background the log is STORE/twinfs.log and syslog.\n",
	  cmd_mount },
	{ "status", "[WHERE] [--json] [--watch]", "how a mount or a store is; without WHERE every running mount",
	  "  --json    for programs; see twinfs(1) for the keys\n"
	  "  --watch   again every second, until interrupted\n\n"
	  "Exit code: 0 all is well, 1 apart (paused, disconnected, resyncing, unmounted),\n"
	  "3 conflicts are waiting, 4 an error needs a person (or there is no such store),\n"
	  "2 wrong usage.\n",
	  cmd_status },
	{ "wait", "WHERE [--synced] [--timeout SECONDS]", "return when nothing is pending in either direction",
	  "  --synced            the default, and all there is to wait for\n"
	  "  --timeout SECONDS   fail when it takes longer (default: as long as it takes)\n",
	  cmd_wait },
	{ "pause", "WHERE [--for DURATION] [--reason TEXT]", "planned link-down without unmounting",
	  "  --for DURATION   resume after this time: 90, 90s, 10m, 2h, 1d\n"
	  "                   (default: when told to)\n"
	  "  --reason TEXT    shown on both sides\n\n"
	  "Ships what is pending first, for at most 10 seconds. Both sides go on working.\n"
	  "A pause outlives an unmount.\n",
	  cmd_pause },
	{ "resume", "WHERE [--prefer local|peer] [--confirm-deletes]", "end a pause; both sides are merged",
	  "  --prefer local|peer the tree of this side, or of the peer, is what both get: what\n"
	  "                      the other changed since both were in step is discarded, and\n"
	  "                      kept in .twinfs/discarded-NODE-DATE; good for one time\n"
	  "  --confirm-deletes   take what the peer deleted, however much it is: more than\n"
	  "                      half of all files and folders, and more than 100, waits for\n"
	  "                      this word\n",
	  cmd_resume },
	{ "conflicts",
	  "WHERE [--json | --diff PATH | --resolve PATH --keep local|peer|both | --dismiss PATH|all | --split PATH]",
	  "conflicts and how they were resolved",
	  "  --json           for programs; see twinfs(1) for the keys\n"
	  "  --diff PATH      compare the versions with what was there before, by diff -u, or\n"
	  "                   by the program in TWINFS_DIFF, which gets the files\n"
	  "  --resolve PATH   settle the conflict of this file\n"
	  "  --keep WHICH     local: this side's version stays; peer: the other side's;\n"
	  "                   both: both files stay\n"
	  "  --dismiss PATH   the merge of this file is good (all: every one is): what is kept\n"
	  "                   of it is dropped; so is what resume --prefer discarded\n"
	  "  --older-than D   with --dismiss: only what was merged so long ago, such as 30d\n"
	  "  --split PATH     undo the merge: the primary's version in place, the other's\n"
	  "                   beside it\n\n"
	  "PATH is the path in the volume, or below the mountpoint, of the file or of one of\n"
	  "its versions; or the conflict's id. One in .twinfs/discarded-NODE-DATE is put back\n"
	  "where it was if NODE's side is kept, or beside what is there now with both.\n",
	  cmd_conflicts },
	{ "policy", "WHERE [set PATTERN POLICY | unset PATTERN] [--json]",
	  "what becomes of files that both sides changed, by pattern; holds on both sides",
	  "  PATTERN   *.ini: files of that name; /photos/x or photos/x: the path from\n"
	  "            the root; photos/: all below; * and ? match any character. The\n"
	  "            longest pattern that matches counts.\n"
	  "  POLICY    keep-both     never merge: both versions are kept\n"
	  "            text          by lines\n"
	  "            extents       changes of different bytes are both taken\n"
	  "            append        both additions at the end, the primary's first\n"
	  "            newest        the version written last; the other is set aside\n"
	  "            primary       the primary's version; the other is set aside\n"
	  "            'command CMD' CMD BASE OURS THEIRS prints the merge; it runs on the\n"
	  "                          primary, and only if it was set there; if it fails\n"
	  "                          both versions are kept\n"
	  "            unit          of a directory: all in it belongs together; if both\n"
	  "                          sides changed something in it, it is there twice, whole\n\n"
	  "Without a policy it goes by the kind of file; see twinfs(1).\n",
	  cmd_policy },
	{ "baseline", "WHERE ls|cat|restore [PATH] [-R] [--json]",
	  "the tree as both sides last had it: list it, read a file of it, bring something back",
	  "  ls        list a directory (without PATH the whole volume's) as ls -l does\n"
	  "  cat       write a file's bytes to stdout\n"
	  "  restore   bring a file or a directory with all below it back; what is there\n"
	  "            now and differs is kept beside it as NAME.before-restore\n"
	  "  -R, --recursive   ls: what is below as well\n"
	  "  --json            for programs; see twinfs(1) for the keys\n\n"
	  "PATH is the path in the volume, or below the mountpoint. While both sides are\n"
	  "connected the baseline is what was confirmed last, a moment ago; while they are\n"
	  "apart it stands still. twinfs mount -o baseline mounts it.\n",
	  cmd_baseline },
	{ "fsck", "STORE [--tables]", "check a store that is not mounted: reads everything, changes nothing",
	  "  --tables   without the data: quick, and says nothing about the files' bytes\n",
	  cmd_fsck },
	{ "resize", "WHERE SIZE", "change the most that a store may hold, mounted or not",
	  "SIZE is in bytes, or a number with K, M, G or T; 0 or none: what the disk has.\n"
	  "A store cannot be made smaller than what is in use; what was freed goes back to\n"
	  "the disk by itself.\n",
	  cmd_resize },
	{ "why", "[WHERE] PATH [--json]", "what happened to a file or directory, also to one that is gone",
	  "  PATH     below a mountpoint; or, with WHERE, in that volume\n"
	  "  --json   for programs; see twinfs(1) for the keys\n",
	  cmd_why },
	{ "scrub", "STORE|MOUNTPOINT", "read every block and compare it with its checksum; heal it from the peer",
	  "Files and the old versions that are kept for the peer. Mounted and connected,\n"
	  "what is damaged is asked of the peer, and healed if it has it. Mounted or not; beside a\n"
	  "mount it takes half of the time, and the disk only when nobody else does.\n"
	  "Interrupting it (or unmounting) ends it. What it found is in twinfs status\n"
	  "until the next one has come to its end.\n\n"
	  "Exit code: 0 all is well (or is by now), 1 something is damaged or it could not be done.\n",
	  cmd_scrub },
	{ "verify", "WHERE [--repair]", "compare both sides: has the peer the same names, files, attributes and bytes",
	  "  --repair   not available in this version, and refused\n\n"
	  "Both sides go on meanwhile; they must be connected. Bytes are compared by their\n"
	  "checksums, not read: for that there is twinfs scrub, on each side. Each difference\n"
	  "is a line, up to 1,000; nothing is mended. On the side that has it right put a\n"
	  "copy in its place (cp -a X X.new && mv X.new X), or change what differs. When the\n"
	  "last one was and what it found is in twinfs status.\n\n"
	  "Exit code: 0 both are the same, 1 something differs or it could not be done.\n",
	  cmd_verify },
	{ "promote", "WHERE", "make the secondary the primary, connected or while the other side is away",
	  "The primary decides about conflicts; both sides can be written to as before. The\n"
	  "old primary goes on as the secondary when it hears of it, now or when it comes\n"
	  "back; nothing that it has not sent is lost, it is merged. A resume --prefer that\n"
	  "was not carried out yet is void.\n",
	  cmd_promote },
	{ "forget-peer", "WHERE", "end the pair: this store has no peer any more, and a new one can be invited",
	  "Both sides keep all their files. What the other one has not sent is not here, and\n"
	  "what this one has not sent is not there. Do the same on the other side, or remove\n"
	  "that store. The new peer joins with a new directory.\n",
	  cmd_forget_peer },
	{ "events", "WHERE [--json]", "what happens to a mount, as it happens; until interrupted",
	  "  --json   one object a line; see twinfs(1) for the keys\n", cmd_events },
};

static void print_help(void)
{
	puts("twinfs: one folder that lives on two machines at once\n\nusage:");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		printf("  twinfs %s %s\n      %s\n", commands[i].name, commands[i].args, commands[i].summary);
	puts("  fusermount3 -u MOUNTPOINT\n      planned link-down: drain, tell the peer, unmount\n\n"
	     "WHERE is a store or a mountpoint. twinfs COMMAND --help says more, twinfs(1) says all.");
}

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

int main(int argc, char **argv)
{
	const struct command *c = argc > 1 ? find(argv[1]) : NULL;

	signal(SIGPIPE, SIG_IGN); /* a mount that ends while it is asked is an error message, no death */
	if (c)
		return c->run(c, argc - 1, argv + 1);
	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))) {
		print_help();
		return EXIT_OK;
	}
	if (argc > 1 && (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))) {
		puts("twinfs " PACKAGE_VERSION);
		return EXIT_OK;
	}
	/* mount.fuse3 calls "twinfs STORE MOUNTPOINT -o OPTIONS" */
	if (argc > 2 && (strchr(argv[1], '/') || store_is(argv[1])))
		return cmd_mount(find("mount"), argc, argv);
	if (argc > 1)
		fprintf(stderr, "twinfs: there is no command \"%.100s\"; see twinfs --help\n", argv[1]);
	else
		fputs("twinfs: which command? See twinfs --help\n", stderr);
	return EXIT_USAGE;
}
