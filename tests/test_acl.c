/* SPDX-License-Identifier: MIT */
#include "util/acl.h"

#include <errno.h>
#include <stdlib.h>
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

static const struct {
	const char *acl;
	bool is_default;
	const char *text;
} texts[] = {
	{ "u:6 g:4 o:0", false, "user::rw-,group::r--,other::---" },
	{ "u:7 u1001:6 g:5 g50:4 m:4 o:1", false,
	  "user::rwx,user:1001:rw-,group::r-x,group:50:r--,mask::r--,other::--x" },
	{ "u:7 g:5 m:7 o:0", true, "default:user::rwx,default:group::r-x,default:mask::rwx,default:other::---" },
};

START_TEST(an_acl_as_text_comes_back_as_it_was)
{
	uint8_t acl[ACL_MAX_BYTES], back[ACL_MAX_BYTES];
	size_t len = acl_of(texts[_i].acl, acl), back_len = 0;
	char *text = acl_text(acl, len, texts[_i].is_default);
	bool is_default = !texts[_i].is_default;

	ck_assert_str_eq(text, texts[_i].text);
	ck_assert_int_eq(acl_parse(text, back, &back_len, &is_default), 0);
	ck_assert_int_eq(is_default, texts[_i].is_default);
	ck_assert_uint_eq(back_len, len);
	ck_assert_mem_eq(back, acl, len);
	free(text);
}
END_TEST

START_TEST(the_largest_acl_has_a_text)
{
	uint8_t acl[ACL_MAX_BYTES] = { 2 }, back[ACL_MAX_BYTES];
	size_t n = (ACL_MAX_BYTES - 4) / 8, len = 4 + n * 8;
	bool is_default;
	char *text;

	for (size_t i = 0; i < n; i++) {
		uint8_t *e = acl + 4 + i * 8;
		unsigned tag = i == 0 ? 1 : i < n - 3 ? 2 : i == n - 3 ? 4 : i == n - 2 ? 0x10 : 0x20;

		memcpy(e, &(uint16_t){ (uint16_t)tag }, 2);
		memcpy(e + 2, &(uint16_t){ 7 }, 2);
		memcpy(e + 4, &(uint32_t){ tag == 2 ? UINT32_MAX - 1 : UINT32_MAX }, 4);
	}
	ck_assert_int_eq(acl_check(acl, len), 0);
	text = acl_text(acl, len, true);
	ck_assert_uint_lt(strlen(text), 16384); /* what a row of a conflict holds */
	len = 0;
	ck_assert_int_eq(acl_parse(text, back, &len, &is_default), 0);
	ck_assert_mem_eq(back, acl, len);
	free(text);
}
END_TEST

static const char *const no_texts[] = {
	"", ",", "none", "0644", "default:", "user::rw-", "u::rw-,g::r--,o::r--",
	"user::rw-,group::r--,other::---,", "user::rw-,group::r--,other::--", "user::rw-,group::r--,other::---x",
	"user::wr-,group::r--,other::---", "user::rw-,user:-1:rw-,group::r--,mask::r--,other::---",
	"user::rw-,user:4294967295:rw-,group::r--,mask::r--,other::---", "user::rw-,user:5:rw-,group::r--,other::---",
	"default:user::rw-,group::r--,other::---", "user::rw-,default:group::r--,other::---",
};

START_TEST(other_text_is_no_acl)
{
	uint8_t acl[ACL_MAX_BYTES];
	bool is_default;
	size_t len;

	ck_assert_int_eq(acl_parse(no_texts[_i], acl, &len, &is_default), -EINVAL);
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
	tcase_add_loop_test(tc, an_acl_as_text_comes_back_as_it_was, 0, sizeof(texts) / sizeof(texts[0]));
	tcase_add_test(tc, the_largest_acl_has_a_text);
	tcase_add_loop_test(tc, other_text_is_no_acl, 0, sizeof(no_texts) / sizeof(no_texts[0]));
	suite_add_tcase(s, tc);
	return tap_main(s);
}
