/* Settings in sections: "[net]", "port = 80", "; remarks". One table, filled line by line. */
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SIZE 16
#define VALUE_SIZE 24
#define MAX_SETTINGS 8

enum ini_line { INI_BLANK, INI_SECTION, INI_SETTING, INI_BAD, INI_FULL };

struct setting {
	char section[NAME_SIZE];
	char name[NAME_SIZE];
	char value[VALUE_SIZE];
};

static struct setting settings[MAX_SETTINGS];
static unsigned setting_count;
static char current_section[NAME_SIZE];

/* Copy [from, to) without the blanks around it. False if it is too long for the destination. */
static bool copy_trimmed(char *to_buf, size_t size, const char *from, const char *to)
{
	size_t n;

	while (from < to && isspace((unsigned char)*from))
		from++;
	while (to > from && isspace((unsigned char)to[-1]))
		to--;
	n = (size_t)(to - from);
	if (n >= size)
		return false;
	memcpy(to_buf, from, n);
	to_buf[n] = '\0';
	return true;
}

/* Start anew. */
void ini_reset(void)
{
	memset(settings, 0, sizeof settings);
	setting_count = 0;
	current_section[0] = '\0';
}

/* Find where a setting is stored, NULL if it isn't. */
static struct setting *ini_find(const char *section, const char *name)
{
	unsigned i;

	for (i = 0; i < setting_count && i < MAX_SETTINGS; i++) {
		if (!strncmp(settings[i].section, section, NAME_SIZE) && !strncmp(settings[i].name, name, NAME_SIZE))
			return &settings[i];
	}
	return NULL;
}

/* Take in one line, with or without its line end. */
enum ini_line ini_feed(const char *line)
{
	const char *end = line + strcspn(line, "\r\n"), *equals;
	struct setting made;

	while (line < end && isspace((unsigned char)*line))
		line++;
	if (line == end || *line == ';' || *line == '#')
		return INI_BLANK;
	if (*line == '[') {
		const char *close = memchr(line, ']', (size_t)(end - line));

		if (!close || !copy_trimmed(current_section, sizeof current_section, line + 1, close))
			return INI_BAD;
		return INI_SECTION;
	}
	equals = memchr(line, '=', (size_t)(end - line));
	if (!equals || equals == line)
		return INI_BAD;
	memset(&made, 0, sizeof made);
	memcpy(made.section, current_section, NAME_SIZE);
	if (!copy_trimmed(made.name, sizeof made.name, line, equals))
		return INI_BAD;
	if (!copy_trimmed(made.value, sizeof made.value, equals + 1, end))
		return INI_BAD;
	{
		struct setting *slot = ini_find(made.section, made.name);

		if (!slot) {
			if (setting_count >= MAX_SETTINGS)
				return INI_FULL;
			slot = &settings[setting_count++];
		}
		*slot = made;
	}
	return INI_SETTING;
}

/* A setting as text, or the fallback. */
const char *ini_get(const char *section, const char *name, const char *fallback)
{
	const struct setting *s = ini_find(section, name);

	return s ? s->value : fallback;
}

/* yes/no, on/off, true/false, 1/0; anything else is `fallback`. */
bool ini_flag(const char *text, bool fallback)
{
	static const char *const yes[] = { "yes", "on", "true", "1" };
	static const char *const no[] = { "no", "off", "false", "0" };
	size_t i;

	for (i = 0; i < sizeof yes / sizeof *yes; i++) {
		if (!strcmp(text, yes[i]))
			return true;
		if (!strcmp(text, no[i]))
			return false;
	}
	return fallback;
}

/* Put all settings in the order of their sections and names. */
static int by_name(const void *a, const void *b)
{
	const struct setting *x = a, *y = b;
	int order = strncmp(x->section, y->section, NAME_SIZE);

	return order ? order : strncmp(x->name, y->name, NAME_SIZE);
}

void ini_sort(void)
{
	unsigned n = setting_count < MAX_SETTINGS ? setting_count : MAX_SETTINGS;

	qsort(settings, n, sizeof settings[0], by_name);
}

int main(void)
{
	static const char *const lines[] = {
		"; a remark\n", "[net]\n", "port = 80\r\n", " host=example.org \n", "[ui]", "dark = on", "broken", "port=1",
	};
	unsigned i;

	ini_reset();
	for (i = 0; i < sizeof lines / sizeof *lines; i++)
		printf("%d ", (int)ini_feed(lines[i]));
	ini_sort();
	printf("\n%s %s\n", settings[0].name, settings[setting_count - 1].name);
	printf("%s %d\n", ini_get("net", "port", "none"), ini_flag(ini_get("ui", "dark", "?"), false));
	return 0;
}
