/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer entry of damaged stores (make fuzz-store). The input is a list of changes of 5 bytes to the files of a
 * store: which file and how, where (3 bytes), what. See tests/damage.h for what is done with it then.
 */
#include "tests/damage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct damage_store st;

static void clean_up(void)
{
	damage_end(&st);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool tables = false;

	if (!*st.dir) {
		damage_begin(&st);
		atexit(clean_up); /* not after a finding: then the store and the log are left */
	}
	damage_restore(&st);
	for (; size >= 5; data += 5, size -= 5) {
		int file = data[0] % DAMAGE_FILES;
		size_t at = ((size_t)data[1] << 16 | (size_t)data[2] << 8 | data[3]) % st.file[file].len;

		tables |= file == 1;
		switch (data[0] >> 6) {
		case 3: damage_zero(&st, file, at, (size_t)data[4] * 16 + 1); break;
		case 2: damage_poke(&st, file, at, data[4]); break;
		default: damage_poke(&st, file, at, st.file[file].data[at] ^ (uint8_t)(1u << data[4] % 8)); break;
		}
	}
	damage_use(&st, !tables); /* nothing guards a table's bytes, but the blocks' checksums are in them */
	return 0;
}
