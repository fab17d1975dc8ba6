/* SPDX-License-Identifier: MIT */
#include "db/inode_rows.h"

#include "util/util.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define COLS "ino, mode, uid, gid, rdev, size, nlink, atime, mtime, ctime, target, born, origin, cborn, corigin"

/*
 * The rows of the inodes in use, as they are in the table: each call of the filesystem wants the same two or three.
 * Every statement of this file that changes the table changes them too; db_scratch forgets them when a transaction is
 * undone. Symlinks are not kept (4 KiB each). 1024 slots are 120 KiB; two inodes of one slot take it from each other.
 */
#define SLOTS 1024u
#define HEAD_BYTES offsetof(struct inode, target)

struct slot {
	uint64_t ino; /* 0: empty */
	uint8_t head[HEAD_BYTES];
};

static struct slot *slot_of(struct db *db, uint64_t ino)
{
	struct slot *slots = db_scratch(db, SLOTS * sizeof(*slots));

	return &slots[ino % SLOTS];
}

static bool kept(struct db *db, uint64_t ino, struct inode *out)
{
	const struct slot *slot = slot_of(db, ino);

	if (ino == 0 || slot->ino != ino)
		return false;
	memcpy(out, slot->head, HEAD_BYTES);
	out->target[0] = '\0';
	return true;
}

static void keep(struct db *db, const struct inode *in)
{
	struct slot *slot = slot_of(db, in->ino);

	if (in->target_len > 0) {
		if (slot->ino == in->ino)
			slot->ino = 0;
		return;
	}
	slot->ino = in->ino;
	memcpy(slot->head, in, HEAD_BYTES);
}

static void forget(struct db *db, uint64_t ino)
{
	struct slot *slot = slot_of(db, ino);

	if (slot->ino == ino)
		slot->ino = 0;
}

static bool mode_sane(uint64_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		return mode <= (S_IFMT | 07777);
	default:
		return false;
	}
}

static bool row_sane(sqlite3_stmt *s)
{
	int target = sqlite3_column_type(s, 10);
	bool ok = db_cols_int(s, 0, 10) && db_cols_int(s, 11, 4);

	for (int col = 2; col <= 4; col++) /* uid, gid, rdev */
		ok = ok && db_col_within(s, col, UINT32_MAX);
	return ok && db_col_u64(s, 0) - 1 < ID_LIMIT - 1 && mode_sane(db_col_u64(s, 1)) &&
	       db_col_within(s, 5, SIZE_MAX_BYTES) && db_col_within(s, 6, UINT32_MAX) &&
	       (target == SQLITE_NULL || target == SQLITE_BLOB) &&
	       sqlite3_column_bytes(s, 10) <= (int)SYMLINK_MAX_BYTES && db_col_within(s, 11, GROUP_LIMIT) &&
	       db_col_within(s, 12, 1) && db_col_within(s, 13, GROUP_LIMIT) && db_col_within(s, 14, 1);
}

static int read_row(struct db *db, sqlite3_stmt *s, struct inode *out)
{
	size_t len = (size_t)sqlite3_column_bytes(s, 10);
	const void *target = sqlite3_column_blob(s, 10);

	if (!row_sane(s))
		return db_damaged(db, "impossible row of inode %lld", sqlite3_column_int64(s, 0));
	out->ino = db_col_u64(s, 0);
	out->mode = (uint32_t)db_col_u64(s, 1);
	out->uid = (uint32_t)db_col_u64(s, 2);
	out->gid = (uint32_t)db_col_u64(s, 3);
	out->rdev = (uint32_t)db_col_u64(s, 4);
	out->size_bytes = db_col_u64(s, 5);
	out->nlink = (uint32_t)db_col_u64(s, 6);
	out->atime_ns = sqlite3_column_int64(s, 7);
	out->mtime_ns = sqlite3_column_int64(s, 8);
	out->ctime_ns = sqlite3_column_int64(s, 9);
	out->target_len = (uint16_t)len;
	if (len > 0)
		memcpy(out->target, target, len);
	out->target[len] = '\0';
	out->born = db_col_u64(s, 11);
	out->origin = (uint8_t)db_col_u64(s, 12);
	out->cborn = db_col_u64(s, 13);
	out->corigin = (uint8_t)db_col_u64(s, 14);
	out->shrunk_to = UINT64_MAX;
	return 0;
}

static int get_one(struct db *db, sqlite3_stmt *s, struct inode *out)
{
	int rc = db_step(db, s);

	if (rc != 1)
		return rc < 0 ? rc : -ENOENT;
	rc = read_row(db, s, out);
	db_done(s);
	return rc;
}

int inode_row_get(struct db *db, uint64_t ino, struct inode *out)
{
	if (kept(db, ino, out))
		return 0;
	sqlite3_stmt *s = db_stmt(db, "SELECT " COLS " FROM inode WHERE ino = ?1");

	DB_BIND_INTS(s, 1, ino);
	int rc = get_one(db, s, out);

	if (!rc)
		keep(db, out);
	return rc;
}

static void bind_target(sqlite3_stmt *s, int index, const struct inode *in)
{
	db_bind_blob(s, index, in->target_len > 0 ? in->target : NULL, in->target_len);
}

int inode_row_insert(struct db *db, const struct inode *in)
{
	sqlite3_stmt *s = db_stmt(
		db, "INSERT INTO inode(ino, mode, uid, gid, rdev, size, nlink, atime, mtime, ctime, born,"
		    " origin, cborn, corigin, target) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)");

	DB_BIND_INTS(s, 1, in->ino, in->mode, in->uid, in->gid, in->rdev, in->size_bytes, in->nlink,
		     (uint64_t)in->atime_ns, (uint64_t)in->mtime_ns, (uint64_t)in->ctime_ns, in->born, in->origin,
		     in->cborn, in->corigin);
	bind_target(s, 15, in);
	int rc = db_run(db, s);

	if (rc)
		return rc;
	keep(db, in);
	return 0;
}

int inode_row_update(struct db *db, const struct inode *in, uint64_t only_born)
{
	sqlite3_stmt *s = db_stmt(db, "UPDATE inode SET mode=?2, uid=?3, gid=?4, rdev=?5, size=?6, atime=?7, mtime=?8,"
	                              " ctime=?9, born=?10, origin=?11, cborn=?12, corigin=?13, target=?15"
	                              " WHERE ino=?1 AND (?14 = 0 OR born = ?14)");
	struct inode row;
	bool known = kept(db, in->ino, &row);
	int rc;

	if (known && only_born && row.born != only_born)
		return 0;

	DB_BIND_INTS(s, 1, in->ino, in->mode, in->uid, in->gid, in->rdev, in->size_bytes, (uint64_t)in->atime_ns,
		     (uint64_t)in->mtime_ns, (uint64_t)in->ctime_ns, in->born, in->origin, in->cborn, in->corigin,
		     only_born);
	bind_target(s, 15, in);
	rc = db_run(db, s);
	if (rc || db_changes(db) == 0)
		return rc;
	if (known) {
		uint32_t nlink = row.nlink;

		row = *in;
		row.nlink = nlink;
		keep(db, &row);
	}
	return 1;
}

int inode_row_touch(struct db *db, uint64_t ino, uint64_t born, int64_t time_ns)
{
	struct inode row;
	bool known = kept(db, ino, &row);

	if (known && (row.born != born || row.origin != ORIGIN_LOCAL))
		return 0;
	int rc = DB_RUN(db, "UPDATE inode SET mtime = ?3, ctime = ?3 WHERE ino = ?1 AND born = ?2 AND origin = 0", ino,
			born, (uint64_t)time_ns);

	if (rc || db_changes(db) == 0)
		return rc;
	if (known) {
		row.mtime_ns = row.ctime_ns = time_ns;
		keep(db, &row);
	}
	return 1;
}

int inode_row_set_ctime(struct db *db, uint64_t ino, int64_t ctime_ns)
{
	struct inode row;
	int rc = DB_RUN(db, "UPDATE inode SET ctime = ?2 WHERE ino = ?1", ino, (uint64_t)ctime_ns);

	if (!rc && kept(db, ino, &row)) {
		row.ctime_ns = ctime_ns;
		keep(db, &row);
	}
	return rc;
}

int inode_row_add_nlink(struct db *db, uint64_t ino, int delta)
{
	struct inode row;
	int rc = DB_RUN(db, "UPDATE inode SET nlink = max(nlink + ?2, 0) WHERE ino = ?1", ino,
			(uint64_t)(int64_t)delta);

	if (!rc && kept(db, ino, &row)) {
		row.nlink = (uint32_t)MAX((int64_t)row.nlink + delta, 0);
		keep(db, &row);
	}
	return rc;
}

int inode_row_relink(struct db *db, uint64_t ino, int delta, int64_t ctime_ns)
{
	struct inode row;
	int rc = DB_RUN(db, "UPDATE inode SET nlink = max(nlink + ?2, 0), ctime = ?3 WHERE ino = ?1", ino,
			(uint64_t)(int64_t)delta, (uint64_t)ctime_ns);

	if (!rc && kept(db, ino, &row)) {
		row.nlink = (uint32_t)MAX((int64_t)row.nlink + delta, 0);
		row.ctime_ns = ctime_ns;
		keep(db, &row);
	}
	return rc;
}

int inode_row_delete(struct db *db, uint64_t ino)
{
	forget(db, ino);
	return DB_RUN(db, "DELETE FROM inode WHERE ino = ?1", ino);
}

int inode_rows_bytes_below(struct db *db, uint64_t dir, uint64_t *bytes)
{
	sqlite3_stmt *s = db_stmt(db, "WITH RECURSIVE below(ino) AS (SELECT child FROM dentry WHERE parent = ?1"
	                              " UNION SELECT child FROM below JOIN dentry ON parent = below.ino LIMIT 100000)"
	                              " SELECT ifnull(sum(size), 0) FROM below JOIN inode USING (ino)"
	                              " WHERE (mode & 61440) = 32768"); /* S_IFREG */
	int rc;

	DB_BIND_INTS(s, 1, dir);
	rc = db_step(db, s);
	if (rc != 1)
		return rc < 0 ? rc : -EIO;
	*bytes = db_col_u64(s, 0);
	db_done(s);
	return 0;
}

/* A version whose content came from the peer is one of the peer's: its size is the base of a merge. */
int inode_rows_own(struct db *db, uint64_t from, uint64_t end)
{
	struct slot *slots = db_scratch(db, SLOTS * sizeof(*slots));

	for (unsigned i = 0; i < SLOTS; i++)
		slots[i].ino = 0;
	return DB_RUN(db,
	              "UPDATE inode SET origin = 0, corigin = 0 WHERE ino >= ?1 AND ino < ?2"
	              " AND (origin <> 0 OR corigin <> 0)",
	              from, end);
}

int inode_row_life(struct db *db, uint64_t ino, uint64_t *born, enum origin *origin)
{
	struct inode row;
	int rc = inode_row_get(db, ino, &row);

	if (rc)
		return rc;
	*born = row.born;
	*origin = (enum origin)MAX(row.origin, row.corigin);
	return 0;
}

int inode_row_mode(struct db *db, uint64_t ino, uint32_t *mode)
{
	struct inode row;
	int rc = inode_row_get(db, ino, &row);

	*mode = rc ? 0 : row.mode;
	return rc;
}

int inode_row_archive(struct db *db, uint64_t ino, uint64_t died)
{
	return DB_RUN(db, "INSERT INTO old_inode(" COLS ", died) SELECT " COLS ", ?2 FROM inode WHERE ino = ?1", ino,
		      died);
}

int inode_row_at(struct db *db, uint64_t ino, uint64_t group, struct inode *out)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT " COLS " FROM inode WHERE ino = ?1 AND born <= ?2 UNION ALL"
				      " SELECT " COLS
				      " FROM old_inode WHERE ino = ?1 AND born <= ?2 AND died > ?2 LIMIT 1");

	DB_BIND_INTS(s, 1, ino, group);
	return get_one(db, s, out);
}

int inode_rows_ids(struct db *db, uint64_t after, uint64_t *list, size_t max)
{
	/* Not asked when they died: the limit would not bound those that are passed over. */
	sqlite3_stmt *s = db_stmt(db, "SELECT ino FROM inode WHERE ino > ?1 UNION SELECT ino FROM old_inode"
				      " WHERE ino > ?1 ORDER BY 1 LIMIT ?2");

	DB_BIND_INTS(s, 1, after, max);
	return db_list_u64(db, s, list, max);
}

int inode_row_died(struct db *db, uint64_t ino, uint64_t *grp)
{
	int rc = DB_GET(db, "SELECT ifnull(max(died), 0) FROM old_inode WHERE ino = ?1", grp, ino);

	if (rc == 1 && *grp > GROUP_LIMIT)
		return db_damaged(db, "impossible old version of inode %llu", (unsigned long long)ino);
	return rc < 0 ? rc : *grp == 0 ? -ENOENT : 0;
}

int inode_row_peer(struct db *db, uint64_t ino, uint64_t seen, struct inode *out)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT " COLS ", died FROM (SELECT " COLS ", 0 AS died FROM inode WHERE ino = ?1"
	                              " UNION ALL SELECT " COLS ", died FROM old_inode WHERE ino = ?1)"
	                              " WHERE born <= ?2 OR origin = 1 ORDER BY born DESC LIMIT 1");
	uint64_t died;
	int rc;

	DB_BIND_INTS(s, 1, ino, seen);
	rc = db_step(db, s);
	if (rc != 1)
		return rc < 0 ? rc : -ENOENT;
	rc = read_row(db, s, out);
	died = db_col_u64(s, 15);
	db_done(s);
	if (rc)
		return rc;
	/* Nothing that the peer knew came after it, so it was deleted, and the peer had seen that. */
	if (died != 0 && died <= seen)
		return -ENOENT;

	s = db_stmt(db, "SELECT size, cborn, corigin FROM (SELECT size, cborn, corigin, born FROM inode WHERE ino = ?1"
	                " UNION ALL SELECT size, cborn, corigin, born FROM old_inode WHERE ino = ?1)"
	                " WHERE cborn <= ?2 OR corigin = 1 ORDER BY born DESC LIMIT 1");
	DB_BIND_INTS(s, 1, ino, seen);
	rc = db_step(db, s);
	if (rc == 1) {
		out->size_bytes = db_col_u64(s, 0);
		out->cborn = db_col_u64(s, 1);
		out->corigin = (uint8_t)db_col_u64(s, 2);
		db_done(s);
		if (out->size_bytes > SIZE_MAX_BYTES || out->cborn > GROUP_LIMIT)
			return db_damaged(db, "impossible version of inode %llu", (unsigned long long)ino);
	}
	return rc < 0 ? rc : 0;
}

int orphan_row_put(struct db *db, uint64_t ino)
{
	return DB_RUN(db, "INSERT OR IGNORE INTO orphan(ino) VALUES(?1)", ino);
}

int orphan_row_drop(struct db *db, uint64_t ino)
{
	return DB_RUN(db, "DELETE FROM orphan WHERE ino = ?1", ino);
}

/* As db_step; 1: *ino. */
static int orphan_step(struct db *db, sqlite3_stmt *s, uint64_t *ino)
{
	int rc = db_step(db, s);

	if (rc != 1)
		return rc;
	*ino = db_col_u64(s, 0);
	if (*ino > 0 && *ino < ID_LIMIT)
		return 1;
	db_done(s);
	return db_damaged(db, "impossible inode number %lld in table orphan", (long long)*ino);
}

int orphan_rows(struct db *db, void (*fn)(void *ctx, uint64_t ino), void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT ino FROM orphan");
	uint64_t ino;
	int rc;

	while ((rc = orphan_step(db, s, &ino)) == 1)
		fn(ctx, ino);
	return rc;
}

int orphan_rows_some(struct db *db, uint64_t after, uint64_t *list, size_t max)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT ino FROM orphan WHERE ino > ?1 ORDER BY ino LIMIT ?2");
	size_t n = 0;
	int rc;

	DB_BIND_INTS(s, 1, after, max);
	while ((rc = orphan_step(db, s, &list[n])) == 1)
		n++;
	return rc < 0 ? rc : (int)n;
}

int orphan_row_is(struct db *db, uint64_t ino)
{
	uint64_t one;

	return DB_GET(db, "SELECT 1 FROM orphan WHERE ino = ?1", &one, ino);
}
