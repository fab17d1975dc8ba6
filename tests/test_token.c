/* SPDX-License-Identifier: MIT */
#include "tests/tap.h"

#include "sync/token.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/util.h"

#define PIN "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const struct {
	const char *text, *host, *port; /* host NULL: refused */
} addresses[] = {
	{ "left.example:7440", "left.example", "7440" },
	{ "192.0.2.7:1", "192.0.2.7", "1" },
	{ "[2001:db8::1]:65535", "2001:db8::1", "65535" },
	{ "[fe80::1%eth0]:80", "fe80::1%eth0", "80" },
	{ "left", "left", ADDRESS_PORT_DEFAULT },
	{ "[::1]", "::1", ADDRESS_PORT_DEFAULT },
	{ "", NULL, NULL },
	{ ":7440", NULL, NULL },
	{ "left:", NULL, NULL },
	{ "left:0", NULL, NULL },
	{ "left:65536", NULL, NULL },
	{ "left:99999999999", NULL, NULL },
	{ "left:+80", NULL, NULL },
	{ "left:80x", NULL, NULL },
	{ "::1:80", NULL, NULL },
	{ "[::1", NULL, NULL },
	{ "[::1]x", NULL, NULL },
	{ "[]:80", NULL, NULL },
	{ "le ft:80", NULL, NULL },
	{ "left/x:80", NULL, NULL },
	{ "user@left:80", NULL, NULL },
};

START_TEST(an_address_is_host_and_port)
{
	struct err err = ERR_INIT;
	struct address a;
	int rc = address_parse(addresses[_i].text, &a, &err);

	if (!addresses[_i].host) {
		ck_assert_msg(rc == -EINVAL, "%s was taken", addresses[_i].text);
		ck_assert_ptr_nonnull(strstr(err.text, "HOST:PORT"));
		return;
	}
	ck_assert_msg(rc == 0, "%s", err.text);
	ck_assert_str_eq(a.host, addresses[_i].host);
	ck_assert_str_eq(a.port, addresses[_i].port);
}
END_TEST

START_TEST(a_token_is_one_word_and_comes_back_as_it_was)
{
	static const char *const at[] = { "left:7440", "[2001:db8::1]:1", "a:1", "192.0.2.7:65535", "abc:22" };

	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		struct err err = ERR_INIT;
		struct token t, got;
		char *text, *spaced;

		ck_assert_int_eq(token_make(at[i], PIN, &t, &err), 0);
		text = token_format(&t);
		ck_assert_uint_eq(strcspn(text, " \t\n\"'$[]*?"), strlen(text));
		spaced = xasprintf("  %s\r\n", text);
		ck_assert_msg(token_parse(spaced, &got, &err) == 0, "%s: %s", text, err.text);
		ck_assert_str_eq(got.address, at[i]);
		ck_assert_str_eq(got.fingerprint_hex, PIN);
		ck_assert_str_eq(got.secret_hex, t.secret_hex);
		free(text);
		free(spaced);
	}
}
END_TEST

START_TEST(two_tokens_have_two_secrets)
{
	struct token a, b;

	ck_assert_int_eq(token_make("left:1", PIN, &a, NULL), 0);
	ck_assert_int_eq(token_make("left:1", PIN, &b, NULL), 0);
	ck_assert_str_ne(a.secret_hex, b.secret_hex);
}
END_TEST

START_TEST(any_single_wrong_character_is_noticed)
{
	static const char other[] = "AaZz09-_=. /";
	struct token t, got;
	char *text;

	ck_assert_int_eq(token_make("left.example:7440", PIN, &t, NULL), 0);
	text = token_format(&t);
	for (size_t i = 0; i < strlen(text); i++) {
		char was = text[i];

		for (size_t k = 0; k < sizeof(other) - 1; k++) {
			struct err err = ERR_INIT;

			if (other[k] == was || (other[k] == ' ' && i == 0))
				continue;
			text[i] = other[k];
			ck_assert_int_lt(token_parse(text, &got, &err), 0);
			ck_assert_ptr_nonnull(strstr(err.text, "twinfs"));
		}
		text[i] = was;
	}
	free(text);
}
END_TEST

START_TEST(a_cut_or_lengthened_token_is_refused)
{
	struct token t, got;
	char *text, *longer;

	ck_assert_int_eq(token_make("left:7440", PIN, &t, NULL), 0);
	text = token_format(&t);
	longer = xasprintf("%sA", text);
	ck_assert_int_eq(token_parse(longer, &got, NULL), -EINVAL);
	free(longer);
	longer = xasprintf("%s%s%s%s%s%s", text, text + 8, text + 8, text + 8, text + 8, text + 8);
	ck_assert_int_eq(token_parse(longer, &got, NULL), -EINVAL);
	free(longer);
	for (size_t len = strlen(text); len-- > 0;) {
		text[len] = '\0';
		ck_assert_int_eq(token_parse(text, &got, NULL), -EINVAL);
	}
	free(text);
}
END_TEST

START_TEST(a_newer_token_says_so)
{
	struct err err = ERR_INIT;
	struct token got;

	ck_assert_int_eq(token_parse("twinfs2_abcdefgh", &got, &err), -EPROTONOSUPPORT);
	ck_assert_ptr_nonnull(strstr(err.text, "newer"));
}
END_TEST

START_TEST(an_invitation_is_good_for_one_secret_and_once)
{
	struct err err = ERR_INIT;
	struct invite i = { 0 }, again;
	struct token t, other;
	char *text;

	ck_assert_int_eq(token_make("left:1", PIN, &t, NULL), 0);
	ck_assert_int_eq(token_make("left:1", PIN, &other, NULL), 0);
	ck_assert_int_eq(invite_try(&i, t.secret_hex, &err), -ESTALE);
	invite_open(&i, &t);
	ck_assert_int_eq(invite_try(&i, other.secret_hex, &err), -EACCES);
	ck_assert_int_eq(invite_try(&i, "", &err), -EACCES);
	text = invite_format(&i);
	ck_assert_ptr_null(strstr(text, t.secret_hex));
	invite_parse(text, &again);
	free(text);
	ck_assert_uint_eq(again.tries_left, INVITE_TRIES - 2);
	ck_assert_int_eq(invite_try(&again, t.secret_hex, &err), 0);
	invite_close(&again);
	ck_assert_int_eq(invite_try(&again, t.secret_hex, &err), -ESTALE);
	ck_assert_ptr_nonnull(strstr(err.text, "twinfs invite"));
}
END_TEST

START_TEST(too_many_wrong_secrets_close_the_invitation)
{
	struct invite i;
	struct token t;

	ck_assert_int_eq(token_make("left:1", PIN, &t, NULL), 0);
	invite_open(&i, &t);
	for (unsigned n = 0; n < INVITE_TRIES; n++)
		ck_assert_int_eq(invite_try(&i, "0123", NULL), -EACCES);
	ck_assert_int_eq(invite_try(&i, t.secret_hex, NULL), -ESTALE);
}
END_TEST

START_TEST(a_damaged_invitation_is_a_closed_one)
{
	static const char *const texts[] = { "", "x", "00 3", PIN, PIN " 0", PIN " 21", "-" PIN " 3" };
	struct invite i;

	invite_parse(NULL, &i);
	ck_assert_str_eq(i.secret_sha256_hex, "");
	for (size_t k = 0; k < ARRAY_LEN(texts); k++) {
		invite_parse(texts[k], &i);
		ck_assert_str_eq(i.secret_sha256_hex, "");
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("token");
	TCase *tc = tcase_create("token");

	tcase_add_loop_test(tc, an_address_is_host_and_port, 0, (int)ARRAY_LEN(addresses));
	tcase_add_test(tc, a_token_is_one_word_and_comes_back_as_it_was);
	tcase_add_test(tc, two_tokens_have_two_secrets);
	tcase_add_test(tc, any_single_wrong_character_is_noticed);
	tcase_add_test(tc, a_cut_or_lengthened_token_is_refused);
	tcase_add_test(tc, a_newer_token_says_so);
	tcase_add_test(tc, an_invitation_is_good_for_one_secret_and_once);
	tcase_add_test(tc, too_many_wrong_secrets_close_the_invitation);
	tcase_add_test(tc, a_damaged_invitation_is_a_closed_one);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
