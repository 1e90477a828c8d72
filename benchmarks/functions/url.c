/* URLs: percent coding, query strings, and taking them apart. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
	const char *p;
	size_t n;
};

struct url {
	struct slice scheme, host, path, query, fragment;
	uint16_t port;
};

static int is_unreserved(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
	       c == '.' || c == '~';
}

static int unhex(int c)
{
	unsigned d = (unsigned)c - '0';

	if (d < 10)
		return (int)d;
	d = ((unsigned)c | 0x20) - 'a';
	return d < 6 ? (int)d + 10 : -1;
}

/* Percent-encode n bytes; the length that was needed, the text is cut when it is not below `cap`. */
size_t url_encode(const char *s, size_t n, char *o, size_t cap)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t k = 0;

	while (n--) {
		unsigned char c = (unsigned char)*s++;

		if (is_unreserved(c)) {
			if (k + 1 < cap)
				o[k] = (char)c;
			k++;
			continue;
		}
		if (k + 3 < cap) {
			o[k] = '%';
			o[k + 1] = hex[c >> 4];
			o[k + 2] = hex[c & 0xf];
		}
		k += 3;
	}
	if (k < cap)
		o[k] = 0;
	return k;
}

/* Decode in place; + is a blank if `form` is set. The new length, or -1 (the text is then half done). */
long url_decode(char *s, int form)
{
	char *r = s, *w = s;

	while (*r) {
		if (*r == '%') {
			int hi = unhex((unsigned char)r[1]);
			int lo = hi < 0 ? -1 : unhex((unsigned char)r[2]);

			if (lo < 0)
				return -1;
			*w++ = (char)(hi << 4 | lo);
			r += 3;
		} else if (*r == '+' && form) {
			*w++ = ' ';
			r++;
		} else {
			*w++ = *r++;
		}
	}
	*w = 0;
	return w - s;
}

/* The value of a key in "a=1&b=2&c"; {NULL, 0} if it isn't there. */
struct slice query_get(struct slice q, const char *key)
{
	size_t klen = strlen(key);
	const char *e = q.p + q.n, *p = q.p;
	struct slice none = { NULL, 0 };

	while (p < e) {
		const char *amp = memchr(p, '&', (size_t)(e - p));
		const char *stop = amp ? amp : e;
		size_t n = (size_t)(stop - p);

		if (n >= klen && memcmp(p, key, klen) == 0) {
			if (n == klen)
				return (struct slice){ stop, 0 };
			if (p[klen] == '=')
				return (struct slice){ p + klen + 1, n - klen - 1 };
		}
		p = amp ? amp + 1 : e;
	}
	return none;
}

static int parse_port(struct slice s, uint16_t *port)
{
	uint32_t v = 0;

	if (s.n == 0 || s.n > 5)
		return -1;
	while (s.n--) {
		if (*s.p < '0' || *s.p > '9')
			return -1;
		v = v * 10 + (uint32_t)(*s.p++ - '0');
	}
	if (v > UINT16_MAX)
		return -1;
	*port = (uint16_t)v;
	return 0;
}

static struct slice cut(struct slice *rest, char at)
{
	const char *hit = rest->n ? memchr(rest->p, at, rest->n) : NULL;
	struct slice tail = { NULL, 0 };

	if (hit) {
		tail.p = hit + 1;
		tail.n = rest->n - (size_t)(hit + 1 - rest->p);
		rest->n = (size_t)(hit - rest->p);
	}
	return tail;
}

/* scheme://host[:port][/path][?query][#fragment]; 0, or -1 for anything else. */
int url_parse(const char *text, struct url *u)
{
	struct slice rest, port;
	const char *sep = strstr(text, "://");
	size_t n;

	if (!sep || sep == text)
		return -1;
	memset(u, 0, sizeof *u);
	u->scheme.p = text;
	u->scheme.n = (size_t)(sep - text);
	rest.p = sep + 3;
	rest.n = strlen(rest.p);
	u->fragment = cut(&rest, '#');
	u->query = cut(&rest, '?');
	for (n = 0; n < rest.n && rest.p[n] != '/'; n++)
		;
	u->host.p = rest.p;
	u->host.n = n;
	u->path.p = rest.p + n;
	u->path.n = rest.n - n;
	port = cut(&u->host, ':');
	if (u->host.n == 0)
		return -1;
	if (port.p)
		return parse_port(port, &u->port);
	u->port = u->scheme.n == 5 && !memcmp(text, "https", 5) ? 443 : 80;
	return 0;
}

/* Query strings compare by the order of their bytes, the shorter first. */
int slice_compare(struct slice a, struct slice b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int d = n ? memcmp(a.p, b.p, n) : 0;

	if (d)
		return d < 0 ? -1 : 1;
	return a.n < b.n ? -1 : a.n > b.n;
}
