/* SPDX-License-Identifier: MIT */
#include "util/acl.h"

#include <errno.h>
#include <string.h>

#include "tests/tap.h"

/* An ACL as text: "u:7 u1001:6 g:5 g50:4 m:4 o:0"; tags in the order they are written. Returns its length. */
static size_t acl_of(const char *text, uint8_t out[ACL_MAX_BYTES])
{
	size_t len = 4;

	memcpy(out, "\2\0\0\0", 4);
	while (*text) {
		unsigned id = 0, tag = *text == 'm' ? 0x10 : *text == 'o' ? 0x20 : *text == 'u' ? 0x01 : 0x04;
		bool named = text[1] != ':';

		for (text++; *text != ':'; text++)
			id = id * 10 + (unsigned)(*text - '0');
		tag = named ? tag << 1 : tag;
		id = named ? id : UINT32_MAX;
		memcpy(out + len, &(uint16_t){ (uint16_t)tag }, 2);
		memcpy(out + len + 2, &(uint16_t){ (uint16_t)(text[1] - '0') }, 2);
		memcpy(out + len + 4, &(uint32_t){ id }, 4);
		len += 8;
		text += text[2] == ' ' ? 3 : 2;
	}
	return len;
}

static const struct {
	const char *acl;
	int rc;
} checks[] = {
	{ "u:7 g:5 o:0", 0 },
	{ "u:7 u1:6 g:5 g2:4 m:4 o:0", 0 },
	{ "u:7 u1:6 u1:6 g:5 m:4 o:0", 0 }, /* the kernel takes it */
	{ "u:7 g:5 m:7 o:0", 0 },
	{ "", -EINVAL },
	{ "u:7", -EINVAL },
	{ "u:7 g:5", -EINVAL },
	{ "g:5 u:7 o:0", -EINVAL },
	{ "u:7 g:5 o:0 m:7", -EINVAL },
	{ "u:7 u1:6 g:5 o:0", -EINVAL }, /* no mask */
	{ "u:7 g:5 g1:6 o:0", -EINVAL },
	{ "u:7 u:7 g:5 o:0", -EINVAL },
	{ "u:8 g:5 o:0", -EINVAL },
};

START_TEST(only_an_acl_that_the_kernel_takes_is_valid)
{
	uint8_t acl[ACL_MAX_BYTES];
	size_t len = acl_of(checks[_i].acl, acl);

	ck_assert_int_eq(acl_check(acl, len), checks[_i].rc);
}
END_TEST

START_TEST(bytes_that_are_no_acl_are_refused)
{
	uint8_t acl[ACL_MAX_BYTES + 8] = { 0 };
	size_t len = acl_of("u:7 g:5 o:0", acl);

	for (size_t n = 0; n < len; n++)
		ck_assert_int_eq(acl_check(acl, n), -EINVAL);
	ck_assert_int_eq(acl_check(acl, len + 1), -EINVAL);
	ck_assert_int_eq(acl_check(acl, sizeof(acl)), -E2BIG);
	acl[0] = 3;
	ck_assert_int_eq(acl_check(acl, len), -EOPNOTSUPP);
}
END_TEST

static const struct {
	const char *acl;
	uint32_t mode;    /* what a mode of 0 becomes */
	uint32_t chmod;
	const char *after;
	uint32_t create;
	uint32_t created;
	const char *inherited;
} rows[] = {
	{ "u:7 g:5 o:1", 0751, 0640, "u:6 g:4 o:0", 0666, 0640, "u:6 g:4 o:0" },
	{ "u:7 u1:6 g:5 m:6 o:1", 0761, 0640, "u:6 u1:6 g:5 m:4 o:0", 0644, 0640, "u:6 u1:6 g:5 m:4 o:0" },
	{ "u:6 g:4 g9:7 m:7 o:4", 0674, 02777, "u:7 g:4 g9:7 m:7 o:7", 02777, 02674, "u:6 g:4 g9:7 m:7 o:4" },
};

START_TEST(mode_and_acl_say_the_same)
{
	uint8_t acl[ACL_MAX_BYTES], want[ACL_MAX_BYTES];
	size_t len = acl_of(rows[_i].acl, acl);

	ck_assert_uint_eq(acl_mode(acl, len, 0), rows[_i].mode);
	ck_assert_uint_eq(acl_mode(acl, len, 0107777), 0107000 | rows[_i].mode);
	acl_set_mode(acl, len, rows[_i].chmod);
	ck_assert_uint_eq(acl_of(rows[_i].after, want), len);
	ck_assert_mem_eq(acl, want, len);
	acl_of(rows[_i].acl, acl);
	ck_assert_uint_eq(acl_inherit(acl, len, rows[_i].create), rows[_i].created);
	acl_of(rows[_i].inherited, want);
	ck_assert_mem_eq(acl, want, len);
}
END_TEST

START_TEST(only_three_entries_are_minimal)
{
	uint8_t acl[ACL_MAX_BYTES];

	ck_assert(acl_is_minimal(acl, acl_of("u:7 g:5 o:1", acl)));
	ck_assert(!acl_is_minimal(acl, acl_of("u:7 g:5 m:5 o:1", acl)));
	ck_assert(!acl_is_minimal(acl, acl_of("u:7 u1:5 g:5 m:5 o:1", acl)));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("acl");
	TCase *tc = tcase_create("acl");

	tcase_add_loop_test(tc, only_an_acl_that_the_kernel_takes_is_valid, 0, sizeof(checks) / sizeof(checks[0]));
	tcase_add_test(tc, bytes_that_are_no_acl_are_refused);
	tcase_add_loop_test(tc, mode_and_acl_say_the_same, 0, sizeof(rows) / sizeof(rows[0]));
	tcase_add_test(tc, only_three_entries_are_minimal);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
