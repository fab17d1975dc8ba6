/* SPDX-License-Identifier: MIT */
/* libFuzzer entry of the frame decoder: clang -fsanitize=fuzzer,address (make fuzz). What decodes must encode again. */
#include <stdlib.h>

#include "sync/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t scratch[DATA_MAX_BYTES];
	struct frame f;
	struct buf again;

	if (frame_decode(data, size, &f, scratch, NULL) <= 0)
		return 0;
	buf_init(&again, FRAME_MAX_BYTES);
	if (f.type != FRAME_HELLO || f.hello.version <= PROTOCOL_VERSION)
		if (frame_encode(&again, &f))
			abort();
	buf_release(&again);
	frame_release(&f);
	return 0;
}
