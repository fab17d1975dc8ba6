/* SPDX-License-Identifier: MIT */
#include "db/note_rows.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int peer_link_row_put(struct db *db, const struct peer_link *p)
{
	const struct dentry *d = &p->at;
	sqlite3_stmt *s = db_stmt(
		db,
		"INSERT OR REPLACE INTO peer_link(link, parent, child, grp, seen, name) VALUES(?1,?2,?3,?4,?5,?6)");

	DB_BIND_INTS(s, 1, d->link, d->parent, d->child, d->born, p->seen);
	db_bind_blob(s, 6, d->name, d->name_len);
	return db_run(db, s);
}

int peer_link_row_get(struct db *db, uint64_t link, struct peer_link *out)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT parent, child, grp, seen, name FROM peer_link WHERE link = ?1");
	int rc, n;

	DB_BIND_INTS(s, 1, link);
	rc = db_step(db, s);
	if (rc != 1)
		return rc < 0 ? rc : -ENOENT;
	n = sqlite3_column_bytes(s, 4);
	*out = (struct peer_link){ .at = { .link = link,
					   .parent = db_col_u64(s, 0),
					   .child = db_col_u64(s, 1),
					   .born = db_col_u64(s, 2),
					   .origin = ORIGIN_PEER,
					   .name_len = (uint8_t)(n < 0 || n > (int)NAME_MAX_BYTES ? 0 : n) },
				   .seen = db_col_u64(s, 3) };
	if (out->at.name_len)
		memcpy(out->at.name, sqlite3_column_blob(s, 4), out->at.name_len);
	if (!db_cols_int(s, 0, 4) || out->at.parent >= ID_LIMIT || out->at.child >= ID_LIMIT ||
	    out->at.born > GROUP_LIMIT || out->seen > GROUP_LIMIT || n > (int)NAME_MAX_BYTES ||
	    memchr(out->at.name, '/', out->at.name_len) || memchr(out->at.name, '\0', out->at.name_len))
		rc = db_damaged(db, "impossible row of link %llu in peer_link", (unsigned long long)link);
	else
		rc = 0;
	db_done(s);
	return rc;
}

int peer_link_row_purge(struct db *db, uint64_t upto)
{
	return DB_RUN(db, "DELETE FROM peer_link WHERE grp <= ?1", upto);
}

int peer_link_rows_gone(struct db *db, int (*fn)(void *ctx, uint64_t child), void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT child FROM peer_link p WHERE parent != 0"
				      " AND NOT EXISTS (SELECT 1 FROM dentry d WHERE d.link = p.link)");
	int rc;

	while ((rc = db_step(db, s)) == 1) {
		rc = db_cols_int(s, 0, 1) ? fn(ctx, db_col_u64(s, 0)) : db_damaged(db, "impossible row in peer_link");
		if (rc != 0) {
			db_done(s);
			break;
		}
	}
	return rc;
}

#define LINEAGE_COLS "src, dst, grp, kind, since, known"

/* These columns. dst may be a size in bytes. */
static int lineage_read(struct db *db, sqlite3_stmt *s, struct lineage *out)
{
	uint64_t kind = db_col_u64(s, 3);

	*out = (struct lineage){ .src = db_col_u64(s, 0), .dst = db_col_u64(s, 1),
		                 .grp = db_col_u64(s, 2), .kind = (char)kind,
		                 .since = db_col_u64(s, 4), .known = db_col_u64(s, 5) };
	if (db_cols_int(s, 0, 6) && out->src - 1 < ID_LIMIT - 1 && out->grp <= GROUP_LIMIT &&
	    out->since <= out->grp && out->known <= out->grp && kind < 128 && kind && strchr("lmacbsunf", (char)kind) &&
	    out->dst < (kind == 's' ? SIZE_MAX_BYTES + 1 : ID_LIMIT))
		return 0;
	return db_damaged(db, "impossible row of %lld in lineage", (long long)out->src);
}

static enum lineage_class class_of(char kind)
{
	return kind == 'l' || kind == 'n' ? LINEAGE_LINK : kind == 'b' || kind == 's' ? LINEAGE_BASE
	     : kind == 'f'              ? LINEAGE_NAME
					: LINEAGE_INODE;
}

int lineage_row_put(struct db *db, const struct lineage *l)
{
	return DB_RUN(db,
	              "INSERT OR REPLACE INTO lineage(is_link, src, dst, grp, kind, since, known) "
	              "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	              class_of(l->kind), l->src, l->dst, l->grp, (unsigned char)l->kind, l->since, l->known);
}

int lineage_row_get(struct db *db, enum lineage_class c, uint64_t src, struct lineage *out)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT " LINEAGE_COLS " FROM lineage WHERE is_link = ?1 AND src = ?2");
	int rc;

	DB_BIND_INTS(s, 1, c, src);
	rc = db_step(db, s);
	if (rc != 1)
		return rc < 0 ? rc : -ENOENT;
	rc = lineage_read(db, s, out);
	db_done(s);
	return rc;
}

static int walk_lineages(struct db *db, sqlite3_stmt *s, lineage_row_fn fn, void *ctx)
{
	int rc;

	while ((rc = db_step(db, s)) == 1) {
		struct lineage l;

		rc = lineage_read(db, s, &l);
		if (rc == 0)
			rc = fn(ctx, &l);
		if (rc != 0) {
			db_done(s);
			break;
		}
	}
	return rc;
}

int lineage_rows(struct db *db, enum lineage_class c, lineage_row_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT " LINEAGE_COLS " FROM lineage WHERE is_link = ?1");

	DB_BIND_INTS(s, 1, c);
	return walk_lineages(db, s, fn, ctx);
}

int lineage_rows_behind(struct db *db, enum lineage_class c, uint64_t src, size_t max_rows, lineage_row_fn fn,
                        void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT " LINEAGE_COLS " FROM lineage WHERE is_link = ?1 AND src > ?2"
	                              " ORDER BY src LIMIT ?3");

	DB_BIND_INTS(s, 1, c, src, max_rows);
	return walk_lineages(db, s, fn, ctx);
}

int lineage_row_drop(struct db *db, enum lineage_class c, uint64_t src)
{
	return DB_RUN(db, "DELETE FROM lineage WHERE is_link = ?1 AND src = ?2", c, src);
}

int peer_link_row_drop(struct db *db, uint64_t link)
{
	return DB_RUN(db, "DELETE FROM peer_link WHERE link = ?1", link);
}

int lineage_row_source(struct db *db, enum lineage_class c, uint64_t dst, uint64_t *src)
{
	/* The + is for SQLite, which without statistics takes the class for as rare as the id. */
	sqlite3_stmt *s = db_stmt(
		db, "SELECT src FROM lineage WHERE dst = ?2 AND +is_link = ?1 AND kind IN (97, 108)"); /* 'a' 'l' */
	int rc;

	DB_BIND_INTS(s, 1, c, dst);
	rc = db_step(db, s);
	if (rc != 1)
		return rc < 0 ? rc : -ENOENT;
	*src = db_col_u64(s, 0);
	db_done(s);
	return 0;
}

int lineage_row_purge(struct db *db, uint64_t upto)
{
	return DB_RUN(db, "DELETE FROM lineage WHERE grp <= ?1", upto);
}

int lineage_row_raise(struct db *db, uint64_t upto, uint64_t grp)
{
	/* 97 'a', 99 'c' */
	int rc = DB_RUN(db, "DELETE FROM lineage WHERE kind NOT IN (97, 99)");

	return rc ? rc : DB_RUN(db, "UPDATE lineage SET grp = ?2 WHERE grp <= ?1", upto, grp);
}

#define CONFLICT_COLS                                                                                        \
	"id, kind, outcome, rule, path, ino, when_ms, node0, path0, ino0, written0_ms, node1, path1, ino1, " \
	"written1_ms,"                                                                                       \
	" resolved, base, value0, value1"

/* The row, if it is there and waits, counts n times more. */
static int count_waiting(struct db *db, uint64_t id, int64_t n)
{
	struct db_numbers *numbers = db_numbers(db);
	uint64_t both = 0;
	int rc = DB_GET(db, "SELECT outcome = 'kept-both' FROM conflict WHERE id = ?1 AND NOT resolved", &both, id);

	if (rc == 1)
		db_count(both ? &numbers->kept_both : &numbers->merged, n);
	return rc < 0 ? rc : 0;
}

int conflict_row_put(struct db *db, const struct conflict *c, uint64_t grp)
{
	int rc = count_waiting(db, c->id, -1);

	if (rc)
		return rc;
	sqlite3_stmt *s = db_stmt(db, "INSERT OR REPLACE INTO conflict(" CONFLICT_COLS ", grp)"
	                              " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,"
	                              "?20)");

	DB_BIND_INTS(s, 1, c->id);
	db_bind_text(s, 2, c->kind);
	db_bind_text(s, 3, c->outcome);
	db_bind_text(s, 4, c->rule);
	db_bind_text(s, 5, c->path);
	DB_BIND_INTS(s, 6, c->ino, c->when_ms);
	for (int i = 0; i < 2; i++) {
		db_bind_text(s, 8 + i * 4, c->version[i].node);
		db_bind_text(s, 9 + i * 4, c->version[i].path);
		DB_BIND_INTS(s, 10 + i * 4, c->version[i].ino, c->version[i].written_ms);
	}
	DB_BIND_INTS(s, 16, c->resolved, c->base);
	db_bind_text(s, 18, c->version[0].value);
	db_bind_text(s, 19, c->version[1].value);
	DB_BIND_INTS(s, 20, grp);
	rc = db_run(db, s);
	return rc ? rc : count_waiting(db, c->id, 1);
}

int conflict_row_mark(struct db *db, uint64_t id, bool resolved, uint64_t grp)
{
	int rc = count_waiting(db, id, -1);

	if (!rc)
		rc = DB_RUN(db, "UPDATE conflict SET resolved = ?2, grp = ?3 WHERE id = ?1", id, resolved, grp);
	return rc ? rc : count_waiting(db, id, 1);
}

int conflict_row_state(struct db *db, uint64_t id, uint64_t *grp, bool *resolved)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT grp, resolved FROM conflict WHERE id = ?1");
	int rc;

	DB_BIND_INTS(s, 1, id);
	rc = db_step(db, s);
	if (rc != 1)
		return rc < 0 ? rc : -ENOENT;
	*grp = db_col_u64(s, 0) > db_numbers(db)->forgotten ? db_col_u64(s, 0) : 0;
	*resolved = db_col_u64(s, 1) != 0;
	db_done(s);
	return 0;
}

static void copy_text(char *out, size_t cap_bytes, sqlite3_stmt *s, int col)
{
	const char *text = (const char *)sqlite3_column_text(s, col);

	snprintf(out, cap_bytes, "%s", text ? text : "");
}

/* The struct borrows the row's text: the callee copies what it keeps. */
static char *borrow_text(sqlite3_stmt *s, int col)
{
	return (char *)(uintptr_t)sqlite3_column_text(s, col);
}

static int walk(struct db *db, sqlite3_stmt *s, conflict_row_fn fn, void *ctx)
{
	int rc;

	while ((rc = db_step(db, s)) == 1) {
		struct conflict c = { .id = db_col_u64(s, 0),
				      .rule = borrow_text(s, 3),
				      .path = borrow_text(s, 4),
				      .ino = db_col_u64(s, 5),
				      .when_ms = db_col_u64(s, 6),
				      .resolved = db_col_u64(s, 15) != 0,
				      .base = db_col_u64(s, 16) };

		copy_text(c.kind, sizeof(c.kind), s, 1);
		copy_text(c.outcome, sizeof(c.outcome), s, 2);
		for (int i = 0; i < 2; i++) {
			copy_text(c.version[i].node, sizeof(c.version[i].node), s, 7 + i * 4);
			c.version[i].path = borrow_text(s, 8 + i * 4);
			c.version[i].ino = db_col_u64(s, 9 + i * 4);
			c.version[i].written_ms = db_col_u64(s, 10 + i * 4);
			c.version[i].value = borrow_text(s, 17 + i);
		}
		rc = c.id - 1 < ID_LIMIT - 1 && c.ino < ID_LIMIT && c.base < ID_LIMIT &&
				     c.version[0].ino < ID_LIMIT && c.version[1].ino < ID_LIMIT
		             ? fn(ctx, &c)
		             : db_damaged(db, "impossible row %lld in conflict", (long long)c.id);
		if (rc != 0) {
			db_done(s);
			break;
		}
	}
	return rc;
}

int conflict_rows(struct db *db, uint64_t after, uint64_t upto, conflict_row_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db,
				  "SELECT " CONFLICT_COLS " FROM conflict WHERE grp > ?1 AND grp <= ?2 ORDER BY id");

	DB_BIND_INTS(s, 1, after, upto);
	return walk(db, s, fn, ctx);
}

int conflict_rows_behind(struct db *db, uint64_t grp, uint64_t id, uint64_t upto, size_t max_rows, conflict_row_fn fn,
                         void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT " CONFLICT_COLS " FROM conflict WHERE (grp, id) > (?1, ?2) AND grp <= ?3"
	                              " ORDER BY grp, id LIMIT ?4");

	DB_BIND_INTS(s, 1, grp, id, upto, max_rows);
	return walk(db, s, fn, ctx);
}

int conflict_row_get(struct db *db, uint64_t id, conflict_row_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT " CONFLICT_COLS " FROM conflict WHERE id = ?1");

	DB_BIND_INTS(s, 1, id);
	return walk(db, s, fn, ctx);
}

int conflict_rows_all(struct db *db, conflict_row_fn fn, void *ctx)
{
	return walk(db, db_stmt(db, "SELECT " CONFLICT_COLS " FROM conflict ORDER BY id"), fn, ctx);
}

int conflict_rows_settled(struct db *db, uint64_t *n)
{
	int rc = DB_GET(db, "SELECT count(*) FROM conflict WHERE resolved AND grp <= ?1", n,
	                db_numbers(db)->forgotten);

	return rc < 0 ? rc : 0;
}

int conflict_rows_drop(struct db *db, uint64_t n, uint64_t before_ms)
{
	return DB_RUN(db, "DELETE FROM conflict WHERE id IN (SELECT id FROM conflict WHERE resolved AND grp <= ?1 AND"
	                  " when_ms < ?2 ORDER BY when_ms, id LIMIT ?3)",
	              db_numbers(db)->forgotten, before_ms, n);
}

int conflict_rows_open_of(struct db *db, uint64_t ino, conflict_row_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT " CONFLICT_COLS " FROM conflict WHERE id IN"
	                              " (SELECT id FROM conflict WHERE resolved = 0 AND ino0 = ?1 UNION"
	                              "  SELECT id FROM conflict WHERE resolved = 0 AND ino1 = ?1 UNION"
	                              "  SELECT id FROM conflict WHERE resolved = 0 AND ino = ?1) ORDER BY id");

	DB_BIND_INTS(s, 1, ino);
	return walk(db, s, fn, ctx);
}
