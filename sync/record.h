/* SPDX-License-Identifier: MIT */
/*
 * record: what travels between two engines. A stream of frames; each frame is one message or one record of a shipment.
 *
 * Frame: u32 len_bytes (of what follows, little-endian as all numbers), u8 type, payload, u32 sum: low half of XXH3_64
 * over type and payload. A frame longer than FRAME_MAX_BYTES, with a wrong sum, an unknown type, trailing bytes or a
 * field outside its bounds is refused
 * (-EBADMSG, with a text naming frame and field); the caller then drops the connection. Nothing here keeps state or
 * does I/O.
 *
 * HELLO is followed by STAGED frames, as many as it announces. VERIFY and HEAL may stand anywhere after that, also in a
 * shipment, to which it does not belong.
 * A shipment is: SHIP_BEGIN, any number of INODE, LINK, XATTR, DATA, HOLE, LOST, CONFLICT, LINEAGE, SKIP records in any
 * order, SHIP_END.
 */
#ifndef TWINFS_SYNC_RECORD_H
#define TWINFS_SYNC_RECORD_H

#include "core/digest.h"
#include "util/buf.h"

#define PROTOCOL_VERSION 7
/* A DATA record carries at most 256 KiB: large enough to cost nothing per byte, small enough to keep both sides'
 * buffers small. */
#define DATA_MAX_BYTES (256u << 10)
/* An xattr value (64 KiB) and a DATA piece both fit; nothing legal is longer. */
#define FRAME_MAX_BYTES (DATA_MAX_BYTES + (4u << 10))

enum frame_type {
	FRAME_HELLO = 1, FRAME_HEARTBEAT = 2, FRAME_BYE = 3, FRAME_CREDIT = 4, FRAME_STAGED = 5,
	FRAME_VERIFY = 6, FRAME_HEAL = 7,
	FRAME_SHIP_BEGIN = 16, FRAME_SHIP_END = 17,
	FRAME_INODE = 32, FRAME_LINK = 33, FRAME_XATTR = 34, FRAME_DATA = 35, FRAME_HOLE = 36,
	FRAME_CONFLICT = 37, FRAME_LINEAGE = 38, FRAME_SKIP = 39, FRAME_LOST = 40,
};

struct rec_hello {
	uint32_t version;
	char volume_id[37], node_id[33], node_name[33];
	uint16_t slot;
	uint8_t role; /* enum role */
	uint64_t generation, committed, applied; /* applied: of the receiver's groups */
	uint64_t applied_id;                     /* random id of that group as the sender knows it; 0 for group 0 */
	uint64_t committed_id;
	uint32_t staged; /* so many ranges follow in STAGED frames; the receiver ships nothing before it has them all */
	uint64_t prefer_id, prefer_taken; /* sync/prefer.h; 0: none */
	uint8_t prefer_keep;              /* enum role: whose state counts by the word prefer_id */
};
/* What the sender of this holds of a shipment that broke off: bytes of these files as of your group. */
#define STAGED_MAX_RANGES 1024u
struct staged_range {
	uint64_t ino, off, len_bytes;
};
struct rec_staged {
	uint64_t group, id; /* the group's number and random id */
	uint16_t n;
	const struct staged_range *ranges; /* decoded: in `scratch` */
};
struct rec_bye {
	uint8_t planned;
	char reason[256];
};
struct rec_credit {
	uint64_t received_bytes; /* payload bytes of this connection that the sender of the credit has taken in, in all
				  */
};
struct rec_ship_begin {
	uint64_t from, to, to_id, seen; /* groups (from, to] of mine; seen: yours that I had applied at the cut */
	uint64_t entries, data_bytes;   /* for progress, and about the room that it takes: see rec_counted */
	uint8_t wants_ack;              /* flags of the engine: asks for an answer, probe, reply to a probe */
};
#define SHIP_FLAGS_ALL 7u
/* How much of its data_bytes a piece is. A long hole is nothing: neither room nor time. A short one counts, so that
 * short ranges can be counted without a look at them. Sender and receiver cut the holes of a range in the same way. */
#define REC_HOLE_COUNTS_BYTES (64u << 10)
static inline uint64_t rec_counted(bool hole, uint64_t len_bytes)
{
	return hole && len_bytes > REC_HOLE_COUNTS_BYTES ? 0 : len_bytes;
}
struct rec_ship_end {
	uint64_t to, frames; /* the same `to`; how many frames stood between */
};

enum { /* rec_inode.fields */
	REC_NEW = 1,      /* the receiver has never seen it: everything is set, also type, rdev and target */
	REC_CONTENT = 2,  /* size_bytes, shrunk_to; bytes come as DATA/HOLE records */
	REC_MODE = 4, REC_OWNER = 8, REC_TIMES = 16,
	REC_STAGED = 32,  /* with CONTENT: what you said you have staged of it belongs to this shipment, below the bytes
			     that come now */
};
struct rec_inode {
	uint64_t ino;
	uint32_t fields;
	uint64_t seen_content, seen_mode, seen_owner, seen_times; /* with NEW: all are set */
	uint32_t mode, uid, gid, rdev;                            /* mode always carries the type bits */
	uint64_t size_bytes, shrunk_to;                           /* shrunk_to UINT64_MAX: never shrunk */
	int64_t atime_ns, mtime_ns, ctime_ns;
	uint16_t target_len;
	char target[SYMLINK_MAX_BYTES + 1];
};
struct rec_link {
	uint64_t link, child, seen, parent; /* parent 0: the link is gone */
	uint8_t name_len;
	uint8_t report; /* no change of the sender's: it only tells where it has the link */
	char name[NAME_MAX_BYTES + 1];
};
struct rec_xattr {
	uint64_t ino, seen;
	uint8_t removed;
	char key[XATTR_NAME_MAX_BYTES + 1];
	uint32_t value_len;
	const uint8_t *value; /* points into the frame when decoded */
};
struct rec_data { /* also HOLE, and LOST (the sender's disk has lost the bytes): data NULL */
	uint64_t ino, off, len_bytes;
	const uint8_t *data; /* points into the frame when decoded; DATA may travel zstd-compressed, decode gives it
				plain (into `scratch`) */
};
struct rec_conflict {
	struct conflict c; /* decoded: strings malloc'd, conflict_release by the receiver */
};
struct rec_lineage {
	uint64_t src, dst;
	char kind; /* as struct lineage */
	uint64_t since; /* of 'u': what was written having seen this group or a later one is not in the copy; else 0 */
};
/* sync/verify.h: questions about the two trees, and answers. */
enum verify_op {
	VERIFY_MARK = 1, /* a: my group of which you have just got all; b: yours that I knew in it. AT or BUSY */
	VERIFY_LIST,     /* of `table` ids in (a, b], whose sum is `sum` here. SAME or LISTED */
	VERIFY_ITEM,     /* a: id in `table`. ITEM_IS or GONE */
	VERIFY_END,      /* no answer */
	VERIFY_AT = 17,  /* a: my group at which I have just what you have in yours */
	VERIFY_BUSY,     /* I have changed something that you did not know, or the like: ask again */
	VERIFY_SAME,
	VERIFY_LISTED,   /* items: what I have in (a, b], b as it was asked for or less */
	VERIFY_ITEM_IS,  /* items: numbers of fields, and the fields (core/digest.h); path */
	VERIFY_GONE,     /* I do not have it */
	VERIFY_OVER,     /* of that comparison nothing is kept here any more */
};
#define VERIFY_MAX_ITEMS 4096u
#define VERIFY_PATH_MAX_BYTES 4095u
struct rec_verify {
	uint8_t op, table; /* enum verify_op, enum digest_table */
	uint64_t run;      /* which comparison; who asks first names it; not 0 */
	uint64_t a, b, sum;
	uint16_t n;
	const struct digest_item *items; /* decoded: in `scratch` */
	char path[VERIFY_PATH_MAX_BYTES + 1]; /* cut if it is longer; "" if there is none */
};
/* sync/heal.h: a block of a file by its checksum, wanted or given. */
enum heal_op {
	HEAL_ASK = 1,   /* who has it? BYTES or NONE */
	HEAL_BYTES = 17,
	HEAL_NONE,      /* I do not have it, or cannot read it */
};
#define HEAL_BLOCK_BYTES 4096u
struct rec_heal {
	uint8_t op; /* enum heal_op */
	uint64_t ino, block, sum;
	const uint8_t *data; /* of BYTES, HEAL_BLOCK_BYTES; points into the frame when decoded */
};
struct rec_skip {
	uint64_t id;
	uint8_t is_link;
	uint8_t unknown; /* I do not have the inode (the link's child) at all: send it whole */
};

struct frame {
	enum frame_type type;
	union {
		struct rec_hello hello;
		struct rec_bye bye;
		struct rec_credit credit;
		struct rec_ship_begin begin;
		struct rec_ship_end end;
		struct rec_inode inode;
		struct rec_link link;
		struct rec_xattr xattr;
		struct rec_data data;
		struct rec_conflict conflict;
		struct rec_lineage lineage;
		struct rec_skip skip;
		struct rec_staged staged;
		struct rec_verify verify;
		struct rec_heal heal;
	};
};

/* Append one encoded frame. The frame must be legal (asserted: our own data). -EMSGSIZE / -ENOMEM from the buffer,
 * which is then as before. Texts for people (reason, rule, path) are cut to their bound, control characters in a reason
 * become blanks. DATA whose bytes compress well (zstd level 1, gain of at least 1/8) goes compressed. */
int frame_encode(struct buf *out, const struct frame *f);

/*
 * Decode the first frame of data[0..len). Returns the bytes it takes, 0 if it is not complete yet, or -EBADMSG.
 * `scratch` (DATA_MAX_BYTES) receives decompressed data. Checked here: lengths, sums, enums, names (1..255 bytes, no
 * '/', no NUL, not "." or ".."), sizes and ranges
 * (<= FILE_MAX_BYTES, no overflow), strings terminated, link/ino/parent not 0, xattr keys, node names. Not checked
 * here: what needs the volume (inode spaces, existence). A HELLO of another protocol version decodes to its version
 * alone: whoever reads it must look at `version` first.
 */
ssize_t frame_decode(const uint8_t *data, size_t len, struct frame *f, uint8_t *scratch, struct err *err);
/* Length and type of the first frame of data[0..len), without looking inside: for whoever passes whole frames on.
 * Returns and checks as frame_decode does for length and type; the sum is not looked at. */
ssize_t frame_peek(const uint8_t *data, size_t len, enum frame_type *type, struct err *err);
/* "INODE", "DATA" …; NULL if there is no such type. For messages. */
const char *frame_type_word(enum frame_type type);
/* Free what decode allocated (CONFLICT only). */
void frame_release(struct frame *f);

#endif
