/* Numbers as people write them. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct sink {
	char *at;
	char *end; /* the place of the terminator at the latest */
	int lost;
};

static const char *const small_numbers[] = {
	"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
	"eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
};
static const char *const tens[] = { "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety" };

/* Roman numerals of 1 to 3999; NULL for others. buf has 16 bytes. */
char *to_roman(unsigned n, char *buf)
{
	static const struct {
		unsigned short value;
		char sign[3];
	} steps[] = {
		{ 1000, "M" }, { 900, "CM" }, { 500, "D" }, { 400, "CD" }, { 100, "C" }, { 90, "XC" }, { 50, "L" },
		{ 40, "XL" }, { 10, "X" }, { 9, "IX" }, { 5, "V" }, { 4, "IV" }, { 1, "I" },
	};
	char *p = buf;
	size_t i;

	if (n == 0 || n > 3999)
		return NULL;
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		while (n >= steps[i].value) {
			const char *s = steps[i].sign;

			while (*s)
				*p++ = *s++;
			n -= steps[i].value;
		}
	}
	*p = '\0';
	return buf;
}

static int roman_digit(char c)
{
	switch (c) {
	case 'I': return 1;
	case 'V': return 5;
	case 'X': return 10;
	case 'L': return 50;
	case 'C': return 100;
	case 'D': return 500;
	case 'M': return 1000;
	default: return 0;
	}
}

/* The number a Roman numeral stands for, if it is the one to_roman would write; -1 otherwise. */
int from_roman(const char *s)
{
	char again[16];
	const char *p;
	int total = 0;

	for (p = s; *p; p++) {
		int here = roman_digit(*p), next = roman_digit(p[1]);

		if (here == 0 || p - s >= 15)
			return -1;
		total += here < next ? -here : here;
	}
	if (total <= 0 || !to_roman((unsigned)total, again) || strcmp(s, again) != 0)
		return -1;
	return total;
}

static void emit(struct sink *k, const char *text)
{
	while (*text) {
		if (k->at >= k->end) {
			k->lost++;
			text++;
			continue;
		}
		*k->at++ = *text++;
	}
	*k->at = '\0';
}

/* 0 to 999 in words. */
static void emit_hundreds(struct sink *k, unsigned n)
{
	if (n >= 100) {
		emit(k, small_numbers[n / 100 % 10]);
		emit(k, " hundred");
		n %= 100;
		if (n == 0)
			return;
		emit(k, " ");
	}
	if (n < 20) {
		emit(k, small_numbers[n]);
		return;
	}
	emit(k, tens[n / 10 - 2]);
	if (n % 10) {
		emit(k, "-");
		emit(k, small_numbers[n % 10]);
	}
}

/* "minus one million two hundred thousand five". How many characters were lost for want of room. */
int number_in_words(int n, char *out, size_t size)
{
	static const struct { unsigned unit; const char *name; } scales[] = {
		{ 1000000000u, " billion" }, { 1000000u, " million" }, { 1000u, " thousand" }, { 1u, "" },
	};
	struct sink k;
	unsigned rest = n < 0 ? 0u - (unsigned)n : (unsigned)n;
	unsigned i;
	int first = 1;

	if (size == 0)
		return -1;
	k.at = out;
	k.end = out + size - 1;
	k.lost = 0;
	if (n < 0)
		emit(&k, "minus ");
	if (rest == 0)
		emit(&k, small_numbers[0]);
	for (i = 0; i < sizeof(scales) / sizeof(scales[0]); i++) {
		unsigned part = rest / scales[i].unit;

		rest %= scales[i].unit;
		if (part == 0)
			continue;
		if (!first)
			emit(&k, " ");
		first = 0;
		emit_hundreds(&k, part);
		emit(&k, scales[i].name);
	}
	return k.lost;
}

/* st, nd, rd or th. */
const char *ordinal_suffix(unsigned long n)
{
	unsigned d = (unsigned)(n % 10);

	if (n / 10 % 10 == 1 || d == 0 || d > 3)
		return "th";
	return d == 1 ? "st" : d == 2 ? "nd" : "rd";
}

/* The sum of `count` Roman numerals, or -1 when one of them is none. */
int roman_sum(int count, ...)
{
	va_list ap;
	int sum = 0;

	va_start(ap, count);
	while (count-- > 0) {
		int n = from_roman(va_arg(ap, const char *));

		if (n < 0) {
			sum = -1;
			break;
		}
		sum += n;
	}
	va_end(ap);
	return sum;
}

int main(void)
{
	char buf[80];

	puts(to_roman(1994, buf));
	printf("%d %d\n", from_roman("MCMXCIV"), from_roman("IIX"));
	printf("%d\n", number_in_words(-1200019, buf, sizeof(buf)));
	puts(buf);
	printf("%d\n", number_in_words(742, buf, 10));
	puts(buf);
	printf("21%s 112%s\n", ordinal_suffix(21), ordinal_suffix(112));
	printf("%d %d\n", roman_sum(3, "X", "IV", "MM"), roman_sum(1, "Z"));
	return 0;
}
