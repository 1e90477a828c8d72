/* Text to numbers and back, with every overflow seen. */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum parse_status { PARSE_OK, PARSE_EMPTY, PARSE_TRAILING, PARSE_RANGE };

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'Z')
		return c - 'A' + 10;
	return INT_MAX;
}

/* A decimal int with an optional sign; nothing may follow it. */
enum parse_status parse_int(const char *s, int *out)
{
	bool neg = false;
	int n = 0;

	if (*s == '-' || *s == '+')
		neg = *s++ == '-';
	if (*s == '\0')
		return PARSE_EMPTY;
	for (; *s; s++) {
		int d = digit_value(*s);

		if (d > 9)
			return PARSE_TRAILING;
		/* Count downwards: there is one more negative number. */
		if (n < (INT_MIN + d) / 10)
			return PARSE_RANGE;
		n = n * 10 - d;
	}
	if (!neg && n == INT_MIN)
		return PARSE_RANGE;
	*out = neg ? n : -n;
	return PARSE_OK;
}

/* Like strtoul with a base of 2 to 36: *end is set past the digits, too large a number gives ULONG_MAX. */
unsigned long parse_unsigned(const char *s, const char **end, unsigned base)
{
	unsigned long n = 0;
	bool over = false;

	if (base < 2 || base > 36) {
		*end = s;
		return 0;
	}
	for (;; s++) {
		unsigned d = (unsigned)digit_value(*s);

		if (d >= base)
			break;
		if (n > (ULONG_MAX - d) / base)
			over = true;
		else
			n = n * base + d;
	}
	*end = s;
	return over ? ULONG_MAX : n;
}

/* Write n in a base; the number of digits, 0 if they and the terminator don't fit. */
size_t format_unsigned(uint64_t n, unsigned base, char *buf, size_t size)
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	char tmp[64];
	size_t len = 0, i;

	if (base < 2 || base > 36)
		return 0;
	do {
		tmp[len++] = digits[n % base];
		n /= base;
	} while (n != 0);
	if (len >= size)
		return 0;
	for (i = 0; i < len; i++)
		buf[i] = tmp[len - 1 - i];
	buf[len] = '\0';
	return len;
}

/* A signed number with a comma after each three digits: "-1,234,567". buf has 32 bytes. */
char *format_grouped(long value, char buf[static 32])
{
	unsigned long rest = value < 0 ? 0ul - (unsigned long)value : (unsigned long)value;
	char *p = buf + 31;
	int k = 0;

	*p = '\0';
	do {
		if (k != 0 && k % 3 == 0)
			*--p = ',';
		*--p = (char)('0' + rest % 10);
		rest /= 10;
		k++;
	} while (rest);
	if (value < 0)
		*--p = '-';
	return memmove(buf, p, strlen(p) + 1);
}

/* "10k", "3M", "2G": a size in bytes. 0, or a negative errno. */
int parse_size(const char *s, uint64_t *size)
{
	const char *end;
	unsigned long n = parse_unsigned(s, &end, 10);
	unsigned shift;

	if (end == s)
		return -EINVAL;
	switch (*end) {
	case '\0':
		shift = 0;
		break;
	case 'k':
	case 'K':
		shift = 10;
		break;
	case 'm':
	case 'M':
		shift = 20;
		break;
	case 'g':
	case 'G':
		shift = 30;
		break;
	default:
		return -EINVAL;
	}
	if (shift && end[1] != '\0')
		return -EINVAL;
	if (n == ULONG_MAX || n > (UINT64_MAX >> shift))
		return -ERANGE;
	*size = (uint64_t)n << shift;
	return 0;
}

/* A decimal fraction such as -12.375 as a number of thousandths; false if it is none or has too many digits. */
bool parse_milli(const char *s, long *out)
{
	long whole = 0, scale = 1000;
	bool neg = *s == '-', any = false;

	if (neg)
		s++;
	for (; *s >= '0' && *s <= '9'; s++, any = true) {
		if (whole > 999999999L)
			return false;
		whole = whole * 10 + (*s - '0');
	}
	whole *= 1000;
	if (*s == '.') {
		for (s++; *s >= '0' && *s <= '9'; s++, any = true) {
			scale /= 10;
			whole += (*s - '0') * scale;
		}
	}
	if (!any || *s != '\0')
		return false;
	*out = neg ? -whole : whole;
	return true;
}

int main(void)
{
	char buf[32];
	const char *end;
	uint64_t size;
	long milli;
	int n;

	if (parse_int("-2147483648", &n) == PARSE_OK)
		printf("%d\n", n);
	printf("%d\n", (int)parse_int("2147483648", &n));
	printf("%lx\n", parse_unsigned("deadBEEFxyz", &end, 16));
	printf("%s\n", end);
	if (format_unsigned(1000, 7, buf, sizeof buf))
		printf("%s\n", buf);
	printf("%s\n", format_grouped(-12345678L, buf));
	if (parse_size("12k", &size) == 0 && parse_milli("-3.25", &milli))
		printf("%llu %ld\n", (unsigned long long)size, milli);
	return 0;
}
