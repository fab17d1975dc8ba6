/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer entry of the frame decoder (make fuzz). An input is taken twice: as bytes off the wire, and as the body of
 * a frame whose length and sum are right, so that what is behind the sum is reached too. What decodes must encode
 * again.
 */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "sync/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const uint8_t *data, size_t size)
{
	static uint8_t scratch[DATA_MAX_BYTES];
	struct frame f;
	struct buf again;

	if (frame_decode(data, size, &f, scratch, NULL) <= 0)
		return;
	buf_init(&again, FRAME_MAX_BYTES);
	if (f.type != FRAME_HELLO || f.hello.version == PROTOCOL_VERSION)
		if (frame_encode(&again, &f))
			abort();
	buf_release(&again);
	frame_release(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t len = (uint32_t)size + 4, sum = (uint32_t)XXH3_64bits(data, size);
	uint8_t *framed;

	decode(data, size);
	if (size == 0 || size > FRAME_MAX_BYTES)
		return 0;
	framed = malloc(size + 8);
	if (!framed)
		return 0;
	memcpy(framed, &len, 4);
	memcpy(framed + 4, data, size);
	memcpy(framed + 4 + size, &sum, 4);
	decode(framed, size + 8);
	free(framed);
	return 0;
}
