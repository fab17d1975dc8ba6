/* SPDX-License-Identifier: MIT */
#include "core/merge3.h"

#include <magic.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "util/log.h"
#include "util/util.h"

#define LOOK_BYTES (256u << 10)

/* Types that libmagic reports as no text though they are lines of text for a person and for a merge. */
static const char *const text_types[] = {
	"application/csv", "application/ecmascript", "application/javascript", "application/json",
		"application/ld+json",
	"application/sql", "application/toml", "application/x-awk", "application/x-bat", "application/x-csh",
	"application/x-dosbat", "application/x-ecmascript", "application/x-javascript", "application/x-latex",
	"application/x-ndjson", "application/x-perl", "application/x-php", "application/x-powershell",
	"application/x-python",
	"application/x-ruby", "application/x-setupscript", "application/x-sh", "application/x-shellscript",
	"application/x-subrip", "application/x-tcl", "application/x-tex", "application/x-wine-extension-ini",
	"application/x-yaml", "application/xhtml+xml", "application/xml", "application/yaml", "image/svg+xml",
	"message/news",
};

/* What people call files that are lines of text, and nothing that is written in characters but is no text for a merge
 * (as PostScript, mail, or a PDF). */
static const char *const text_names[] = {
	"asm", "awk", "bash", "bat", "c", "cc", "cfg", "cmake", "conf", "cpp", "cs", "css", "csv", "diff",
	"go", "gradle", "h", "hpp", "htm", "html", "in", "ini", "java", "js", "json", "jsonl", "jsx", "kt",
	"log", "lua", "m4", "markdown", "md", "mk", "ndjson", "nix", "org", "patch", "php", "pl", "pm",
	"properties", "proto", "py", "r", "rb", "rs", "rst", "scala", "sed", "sh", "sql", "srt", "svg",
	"swift", "tcl", "tex", "toml", "ts", "tsv", "tsx", "txt", "vim", "xhtml", "xml", "yaml", "yml", "zsh",
};

/* The database takes tens of milliseconds to load, and a cookie serves one thread at a time: one for all, under a
 * lock, kept. */
static pthread_mutex_t magic_lock = PTHREAD_MUTEX_INITIALIZER;
static magic_t magic_cookie;
static bool magic_tried;

static void load_magic(void)
{
	if (magic_tried)
		return;
	magic_tried = true;
	magic_cookie = magic_open(MAGIC_MIME_TYPE);
	if (magic_cookie && magic_load(magic_cookie, NULL) == 0)
		return;
	log_warn("no libmagic database (%s): only text and other data are told apart",
		 magic_cookie ? magic_error(magic_cookie) : "no memory");
	if (magic_cookie)
		magic_close(magic_cookie);
	magic_cookie = NULL;
}

/* The MIME type into out; false if nobody knows. */
static bool mime_type(const void *head, size_t len, char *out, size_t size)
{
	const char *type = NULL;

	pthread_mutex_lock(&magic_lock);
	load_magic();
	if (magic_cookie)
		type = magic_buffer(magic_cookie, head, len);
	if (type) {
		strncpy(out, type, size - 1);
		out[size - 1] = '\0';
	}
	pthread_mutex_unlock(&magic_lock);
	return type != NULL;
}

/* Valid UTF-8 without NUL bytes? A character cut off by the end of what we look at is fine. */
static bool is_utf8(const unsigned char *s, size_t len)
{
	size_t i = 0;

	while (i < len) {
		unsigned char c = s[i++];
		size_t more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 &&
			c < 0xf5 ? 3 : 9;

		if (c == 0 || more == 9)
			return false;
		for (; more > 0 && i < len; more--)
			if ((s[i++] & 0xc0) != 0x80)
				return false;
	}
	return true;
}

static bool is_text_type(const char *type)
{
	if (strncmp(type, "text/", 5) == 0)
		return true;
	for (size_t i = 0; i < ARRAY_LEN(text_types); i++)
		if (strcmp(type, text_types[i]) == 0)
			return true;
	return false;
}

static bool is_log_name(const char *name)
{
	size_t n = name ? strlen(name) : 0;

	return n > 4 && strcasecmp(name + n - 4, ".log") == 0;
}

static bool is_text_name(const char *name)
{
	const char *dot = name ? strrchr(name, '.') : NULL;

	for (size_t i = 0; dot && i < ARRAY_LEN(text_names); i++)
		if (strcasecmp(dot + 1, text_names[i]) == 0)
			return true;
	return false;
}

/* What a terminal would make something else of than characters. */
static bool has_controls(const unsigned char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] == 0x7f || (s[i] < 0x20 && (s[i] < '\b' || s[i] > '\r') && s[i] != 0x1b))
			return true;
	return false;
}

bool content_kind_shows(const char *name, const void *head, size_t head_len, enum content_kind *kind)
{
	size_t len = MIN(head_len, LOOK_BYTES);

	*kind = is_log_name(name) ? CONTENT_LOG : len == 0 ? CONTENT_DATA : CONTENT_TEXT;
	return len == 0 || (is_text_name(name) && is_utf8(head, len) && !has_controls(head, len));
}

enum content_kind content_kind(const char *name, const void *head, size_t head_len)
{
	enum content_kind log_or_data = is_log_name(name) ? CONTENT_LOG : CONTENT_DATA;
	enum content_kind log_or_text = is_log_name(name) ? CONTENT_LOG : CONTENT_TEXT;
	size_t len = MIN(head_len, LOOK_BYTES);
	enum content_kind kind;
	char type[128];

	if (content_kind_shows(name, head, head_len, &kind))
		return kind;
	if (!mime_type(head, len, type, sizeof(type)))
		return is_utf8(head, len) ? log_or_text : CONTENT_STRUCTURED;
	if (strcmp(type, "application/octet-stream") == 0)
		return log_or_data;
	/* Text in UTF-16 has line ends of two bytes, which a merge of lines would take apart. */
	if (is_text_type(type) && memchr(head, '\0', len) == NULL)
		return log_or_text;
	return CONTENT_STRUCTURED;
}
