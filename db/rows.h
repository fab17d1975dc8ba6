/* SPDX-License-Identifier: MIT */
/* rows: the store's rows as C structs, shared by db/ (which reads and writes them) and core/ (which gives them
 * meaning). */
#ifndef TWINFS_DB_ROWS_H
#define TWINFS_DB_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAME_MAX_BYTES 255u
#define SYMLINK_MAX_BYTES 4095u

/* Inode numbers and link ids are below: SLOT << 48 | counter, slots are below 4096 (core/volume.h). */
#define ID_LIMIT (UINT64_C(1) << 60)
/* Groups and times in ms are below: no sum of two comes near the sign bit. */
#define GROUP_LIMIT (UINT64_C(1) << 62)
#define SIZE_MAX_BYTES (UINT64_C(1) << 53) /* FILE_MAX_BYTES of core/volume.h */

enum origin { ORIGIN_LOCAL = 0, ORIGIN_PEER = 1 }; /* who authored a version */
enum entity { ENT_NEW = 0, ENT_CONTENT = 1, ENT_MODE = 2, ENT_OWNER = 3, ENT_TIMES = 4, ENT_ASK = 5 };

struct inode {
	uint64_t ino, size_bytes,
		shrunk_to; /* shrunk_to: always UINT64_MAX here; the lowest size is in the change row */
	uint32_t mode, uid, gid, rdev, nlink;
	int64_t atime_ns, mtime_ns, ctime_ns; /* since the epoch, saturated */
	uint64_t born, cborn;                 /* group of this row's version; of the last change of size or data */
	uint8_t origin, corigin;
	uint16_t target_len;
	char target[SYMLINK_MAX_BYTES + 1];   /* symlinks; NUL-terminated */
};

/* Current rows in table extent, of blocks of ino from floor on, that ended in `group` (core/leftover.h). */
struct leftover {
	uint64_t ino, floor, group;
	enum origin by;
};

struct dentry {
	uint64_t link, parent, child, born;
	uint8_t origin;
	uint8_t name_len;
	char name[NAME_MAX_BYTES + 1]; /* NUL-terminated */
};

/* What a landing has still to do to an inode (core/landing.h). */
enum {
	LAND_NEW = 1, LAND_CONTENT = 2, LAND_MODE = 4, LAND_OWNER = 8, LAND_TIMES = 16, /* what of it is set */
	LAND_EXACT = 32, /* it has no xattrs but those that come */
};
struct landing_inode {
	uint64_t ino, size_bytes, shrunk_to; /* shrunk_to: UINT64_MAX: it keeps what it has up to its size */
	uint32_t fields;                     /* LAND_* */
	uint32_t mode, uid, gid, rdev;
	int64_t atime_ns, mtime_ns, ctime_ns;
	uint16_t target_len;
	char target[SYMLINK_MAX_BYTES + 1];
};
/* A link that shall be there (parent 0: nowhere), and the directory in which it is now (0: none). */
struct landing_link {
	uint64_t link, parent, child, from_parent;
	unsigned turn; /* 0: of what is no directory, 1: of a directory, 2: of one that goes */
	uint8_t name_len;
	char name[NAME_MAX_BYTES + 1]; /* NUL-terminated */
};

struct change_row {
	uint64_t grp, seen;
	uint64_t shrunk_to; /* ENT_CONTENT only: lowest size since the row became dirty; UINT64_MAX: never shrunk */
	uint64_t shrunk_grp; /* the group in which it shrank last; 0: never */
	uint64_t child;     /* links only */
	bool skipped; /* links only: no change of ours, only told as it is because the peer's could not be placed */
	bool told;    /* of change_link_get: that, and the same was told before, in a group that was cut */
};

/* Primary: where the secondary has a link. */
struct peer_link {
	struct dentry at; /* parent 0: nowhere; at.born: it is so until the secondary has seen this group of ours */
	uint64_t seen;    /* `seen` of the record that said so */
};

/* Primary: what became of the secondary's entity src since group grp. Each kind is of one class; there is one note of
 * each class for a src. */
enum lineage_class { LINEAGE_INODE = 0, LINEAGE_LINK = 1, LINEAGE_BASE = 2, LINEAGE_NAME = 3 };
struct lineage {
	uint64_t src, dst, grp;
	char kind; /* INODE: 'a' alias, 'c' dst is the conflict copy of src's bytes. LINK: 'l' alias.
		      BASE: 'b' dst holds, as of grp, the bytes that the secondary has in src; 's' the file where src's
		      bytes go here holds them, of which dst bytes count.
		      INODE 'u', LINK 'n': dst is src in the copy of its unit that is the secondary's.
		      NAME 'f': src stands for a name in a directory, a database's; link dst leads to the copy */
	uint64_t since; /* 'u' 'n' 'f': what the secondary did knowing less than this group of ours, it did to dst.
	                   's': 1 + the group as of which the peer's view of the file (core/tree.h) is what the
	                   secondary has in src, as long as it has acknowledged no later one; 0: the file as of grp
	                   stands for it, with bytes of ours. Else 0 */
	uint64_t known; /* 'c' 'u': what the secondary has of dst's bytes is as of this group; 0: as of grp */
};
static inline uint64_t lineage_known(const struct lineage *l)
{
	return l->known ? l->known : l->grp;
}

struct conflict {
	uint64_t id;
	char kind[12], outcome[12]; /* words of docs: content name move delete attribute xattr / kept-both merged
				       primary secondary restored */
	char *rule, *path;          /* text; path as it was then, "/a/b" */
	uint64_t ino;               /* the file at path, 0 if none */
	uint64_t when_ms;
	struct conflict_version {
		char node[33];
		char *path;         /* NULL if not kept */
		uint64_t ino;       /* where these bytes live now, 0 if nowhere */
		uint64_t written_ms;
		char *value;        /* what that side had where that is no file: a mode "0644", an owner "0:0", a place
				       "/a/b", "deleted" or "changed"; NULL: not kept */
	} version[2];               /* [0] the primary's, [1] the secondary's */
	bool resolved;
	uint64_t base;              /* a file with the bytes that both sides had before, 0: not kept */
	char *now, *base_path;      /* not stored: where ino and base are now, NULL: nowhere. Filled in for people */
};

#endif
