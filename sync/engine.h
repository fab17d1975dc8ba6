/* SPDX-License-Identifier: MIT */
/*
 * engine: one side of the replication. Turns groups into shipments, applies the peer's shipments, keeps seen and acks
 * right. It knows the volume but no socket, no thread and no clock: whoever drives it hands it whole frames and the
 * time, and pulls frames out.
 *
 * Driving: everything from one thread (the link's), without the volume's lock. engine_status may be called from any
 * thread.
 *
 *      engine_up ──► HELLO out, HELLO in ──► shipments both ways ──► engine_down (any time; nothing is lost)
 *
 * States: DOWN (no connection), HELLO (waiting for the peer's), STREAM. From any of them engine_down leads to DOWN.
 *
 * Rules (docs/protocol.md has the reasons; asserted where they are cheap):
 *  - A shipment is cut from durable groups only, and covers all of (sent, committed]; `seen` is `applied` at the cut.
 *  - The peer's shipment is applied whole, as one group, with `applied` in the same transaction; half of one is dropped
 * on engine_down; what of its bytes is staged by then is kept, and not sent again (sync/kept.h).
 *  - Change rows are forgotten only by `seen` of the peer's shipments, after the records of that shipment were looked
 * at (primary) or before them (secondary: the outcome in that shipment replaces what was acknowledged).
 *  - The secondary skips what it has changed itself and the primary cannot have known; the primary resolves
 * (sync/resolver.h).
 *  - An empty shipment is never answered unless it asks (wants_ack): so traffic stops when nobody writes.
 */
#ifndef TWINFS_SYNC_ENGINE_H
#define TWINFS_SYNC_ENGINE_H

#include "core/volume.h"
#include "sync/driver.h"
#include "sync/verify.h"
#include "util/buf.h"

struct engine;

struct engine *engine_new(struct volume *v);
void engine_free(struct engine *e);
/* Who runs the commands of policies; before the first engine_up. Without it such files are kept both. */
void engine_set_driver(struct engine *e, const struct driver *driver);

void engine_up(struct engine *e, uint64_t now_ms);
void engine_down(struct engine *e);

/* Tests only: keep what is staged of a shipment that breaks off from so many bytes on (sync/kept.h). */
void engine_keep_from(struct engine *e, uint64_t least_bytes);
/* Let go what is kept of such a shipment if the volume is full. For calling now and then while there is no connection.
 */
void engine_make_room(struct engine *e);

/* For comparing both sides; it lives as long as the engine. Any thread may ask, as verify.h says. */
struct verify *engine_verify(struct engine *e);

/* What the peer deleted while apart may be applied on this connection or the next, however much it is. */
void engine_confirm_deletions(struct engine *e);

/* One whole frame as it came (with its length and sum). -errno with a text: the connection must be dropped; the volume
 * is as before the shipment. -EPERM / -ESTALE: no use in trying again soon (wrong volume, both primary, rolled back
 * store …): a person must act. -ECANCELED: so must one, about what the peer deleted (sync/deletions.h).
 * -ENOSPC: the shipment has no room here (said when our own changes are out, by engine_receive or engine_tick): try
 * again later. */
int engine_receive(struct engine *e, const uint8_t *frame, size_t len_bytes, uint64_t now_ms, struct err *err);

/* Bytes of the shipment that was refused last for want of room; 0: none was. */
uint64_t engine_room_wanted(const struct engine *e);

/* Append whole frames to `out` until about want_bytes are there; returns bytes appended, 0 if there is nothing to send
 * now, -errno when the local store failed (drop the connection, show the error). */
ssize_t engine_pull(struct engine *e, struct buf *out, size_t want_bytes, struct err *err);

/* Cuts a shipment when it is time. Call when engine_deadline is reached, after a dirty callback, and after receive. */
int engine_tick(struct engine *e, uint64_t now_ms, struct err *err);
/* When tick wants to be called again (absolute ms), UINT64_MAX: only after an event. */
uint64_t engine_deadline(struct engine *e, uint64_t now_ms);

/* Queue a BYE behind what is already queued; the peer shows the reason. */
void engine_bye(struct engine *e, bool planned, const char *reason);
/* True when connected, both directions have nothing pending, and every change was acknowledged. */
bool engine_settled(struct engine *e);
/* What keeps it from being settled, for people: a static text, "" when it is settled. */
const char *engine_unsettled(struct engine *e);
/* Cut at once whatever is pending instead of waiting for the batching delay (drain, wait, fsync to peer). */
void engine_hurry(struct engine *e);

/* What the metadata of an entry takes on the wire, about. */
#define ENGINE_ENTRY_BYTES 128u

struct engine_status {
	enum { ENGINE_DOWN, ENGINE_HELLO, ENGINE_STREAM } phase;
	bool settled;
	bool resyncing; /* the backlog that was there when the connection came up is not through yet */
	bool peer_bye;  /* the peer said goodbye on this connection */
	bool peer_bye_planned;
	char peer_bye_reason[256];
	char peer_node[33];
	uint64_t shipped;        /* our groups up to here were cut and queued on this connection */
	uint64_t peer_committed; /* the peer's last known group */
	bool sending, receiving; /* a shipment with data is in transit */
	/* Since the connection came up, all shipments together; done never falls, nor does total, and they are equal
	 * when nothing is on its way. Bytes of files, holes too, and ENGINE_ENTRY_BYTES for each entry: a change set
	 * of renames has a progress as well. */
	uint64_t send_done_bytes, send_total_bytes, recv_done_bytes, recv_total_bytes;
	uint64_t since_ms; /* when the present backlog began to move */
	uint64_t moved_ms; /* when some of it last crossed */
	uint64_t unlanded_entries; /* of what is on its way, or across and not taken in yet, in both directions */
	/* Of the peer's shipments that changed something here, since the engine was made. */
	uint64_t applied_shipments, applied_entries, applied_bytes;
};
void engine_status(struct engine *e, struct engine_status *out);

#endif
