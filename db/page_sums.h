/* SPDX-License-Identifier: MIT */
/*
 * page_sums: each page of the database ends in a checksum, so that a byte that the disk changed is an error and never
 * data. SQLite leaves the last 8 bytes of each page unused (its "reserved bytes", which any SQLite reads around); the
 * sum is XXH3-64, little endian, of all before it, seeded with the page's number: a page that lies in another's place
 * is seen too.
 *
 * How
 *   A VFS of SQLite's own (PAGE_SUMS_VFS) over "unix-excl": what is written to the database file gets its sum on the
 *   way (from a checkpoint, as the store lives in WAL mode), what is read from it is compared. The log is written as it
 *   is: its frames have SQLite's own sums, which are compared when a database is opened after a crash; what is read
 *   from it later is compared with what was written (db/log_sums.h).
 *   A page that is not what was written is SQLITE_IOERR_DATA to SQLite, -EUCLEAN to db.h, and a line in the log.
 *
 * Which databases
 *   Those with 8 reserved bytes. It is decided when the file is opened, by its first page: if that page's sum is right
 *   for 8 reserved bytes it has them, whatever the byte that says so has become. Where the first page tells nothing (a
 *   cut in a checkpoint; the log has it) the owner says so, page_sums_set. A database that was made without is used as
 *   it is.
 *
 * A file that another program's SQLite wrote has wrong sums in the pages that changed: nobody else may write to it.
 *
 * Threads: as the connection (db.h).
 */
#ifndef TWINFS_DB_PAGE_SUMS_H
#define TWINFS_DB_PAGE_SUMS_H

#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#define PAGE_SUMS_VFS "twinfs"
#define DB_PAGE_BYTES 4096
#define PAGE_SUM_BYTES 8
/* SQLite never writes the page in which its locks are. */
#define DB_LOCK_PAGE (0x40000000u / DB_PAGE_BYTES + 1)

/* Page `number`, from 1 on, of DB_PAGE_BYTES. */
bool page_sum_is_right(const uint8_t *page, uint32_t number);
void page_sum_put(uint8_t *page, uint32_t number);
/* By what a first page says of itself. */
bool page_sums_first_page_has(const uint8_t *page);

/* Make the VFS known to SQLite, before sqlite3_open_v2 with its name; a second call does nothing. SQLite's code. */
int page_sums_register(void);

/* Of a connection by that VFS: */
void page_sums_set(sqlite3 *sqlite, bool on);
bool page_sums_are_on(sqlite3 *sqlite);
/* The last page that was not what was written, in the database or in the log; 0: there was none. */
uint32_t page_sums_damaged(sqlite3 *sqlite);
/* Another connection met it. */
void page_sums_note_damaged(sqlite3 *sqlite, uint32_t page);
/* Before the log's frames (from, upto] are moved into the database: are those that will be what was written? All of
 * them or none: of a log that is moved in part a recovery, which ends at the bad frame, would make a mixture. */
bool page_sums_log_is_well(sqlite3 *sqlite, unsigned from, unsigned upto);

#endif
