/* SPDX-License-Identifier: MIT */
#include "tests/tap.h"

#include "sync/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/util.h"

static char dir[64], other[64];

static void setup(void)
{
	strcpy(dir, "/tmp/twinfs-identity-XXXXXX");
	strcpy(other, "/tmp/twinfs-identity-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_ptr_nonnull(mkdtemp(other));
}

static void remove_both(const char *d)
{
	static const char *const names[] = { "node.key", "node.crt" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char *p = xasprintf("%s/%s", d, names[i]);

		unlink(p);
		free(p);
	}
	rmdir(d);
}

static void teardown(void)
{
	remove_both(dir);
	remove_both(other);
}

static void overwrite(const char *name, const char *text)
{
	char *p = xasprintf("%s/%s", dir, name);
	FILE *f = fopen(p, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	free(p);
}

static void load_fails(int code, const char *why)
{
	struct err err = ERR_INIT;
	struct identity *id = NULL;

	ck_assert_int_eq(identity_load(dir, &id, &err), code);
	ck_assert_ptr_null(id);
	ck_assert_msg(strstr(err.text, why) && strstr(err.text, dir), "\"%s\" does not say \"%s\"", err.text, why);
}

START_TEST(an_identity_is_made_once_and_loads_with_its_fingerprint)
{
	struct err err = ERR_INIT;
	struct identity *a = NULL, *b = NULL;
	char hex[FINGERPRINT_HEX_BYTES + 1], pin[60];
	struct stat st;
	char *key = xasprintf("%s/node.key", dir);

	ck_assert_msg(identity_create(dir, &err) == 0, "%s", err.text);
	ck_assert_int_eq(stat(key, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(identity_create(dir, &err), -EEXIST);
	ck_assert_msg(identity_load(dir, &a, &err) == 0, "%s", err.text);
	ck_assert_int_eq(fingerprint_check(identity_fingerprint_hex(a)), 0);
	ck_assert_int_eq(fingerprint_of_cert(identity_cert(a), hex), 0);
	ck_assert_str_eq(hex, identity_fingerprint_hex(a));
	ck_assert_int_eq(fingerprint_to_curl_pin(hex, pin), 0);
	ck_assert_uint_eq(strlen(pin), 52);
	ck_assert_int_eq(strncmp(pin, "sha256//", 8), 0);
	ck_assert_int_eq(identity_create(other, &err), 0);
	ck_assert_int_eq(identity_load(other, &b, &err), 0);
	ck_assert_str_ne(identity_fingerprint_hex(b), hex);
	identity_free(a);
	identity_free(b);
	free(key);
}
END_TEST

START_TEST(a_missing_file_is_named)
{
	char *crt = xasprintf("%s/node.crt", dir);

	load_fails(-ENOENT, "node.key is missing");
	ck_assert_int_eq(identity_create(dir, NULL), 0);
	ck_assert_int_eq(unlink(crt), 0);
	load_fails(-ENOENT, "node.crt is missing");
	free(crt);
}
END_TEST

START_TEST(a_damaged_file_is_named)
{
	ck_assert_int_eq(identity_create(dir, NULL), 0);
	overwrite("node.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	load_fails(-EUCLEAN, "node.crt is damaged");
	overwrite("node.key", "");
	load_fails(-EUCLEAN, "node.key is damaged");
}
END_TEST

START_TEST(key_and_certificate_of_two_nodes_are_refused)
{
	struct identity *id = NULL;

	ck_assert_int_eq(identity_create(dir, NULL), 0);
	ck_assert_int_eq(identity_create(other, NULL), 0);
	ck_assert_int_eq(identity_load(other, &id, NULL), 0);
	overwrite("node.crt", identity_cert_pem(id));
	load_fails(-EUCLEAN, "does not belong");
	identity_free(id);
}
END_TEST

START_TEST(a_pin_is_64_lower_case_hex_digits)
{
	static const char *const bad[] = { "", "00", "sha256//x",
		"00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff",
		"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff0" };
	char pin[60];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_int_eq(fingerprint_to_curl_pin(bad[i], pin), -EINVAL);
	ck_assert_int_eq(fingerprint_check(NULL), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("identity");
	TCase *tc = tcase_create("identity");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, an_identity_is_made_once_and_loads_with_its_fingerprint);
	tcase_add_test(tc, a_missing_file_is_named);
	tcase_add_test(tc, a_damaged_file_is_named);
	tcase_add_test(tc, key_and_certificate_of_two_nodes_are_refused);
	tcase_add_test(tc, a_pin_is_64_lower_case_hex_digits);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
