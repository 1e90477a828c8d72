/* Checksums over bytes. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

static uint32_t crc_table[256];
static bool crc_ready;

/* Fill the table of CRC-32 (reflected 0x04C11DB7). */
static void crc_init(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t r = i;

		for (int k = 0; k < 8; k++)
			r = r & 1 ? r >> 1 ^ 0xEDB88320u : r >> 1;
		crc_table[i] = r;
	}
	crc_ready = true;
}

/* CRC-32 of m bytes at p, going on from an earlier one (0 at the start). */
uint32_t crc32_update(uint32_t crc, const void *p, size_t m)
{
	const unsigned char *b = p;

	if (!crc_ready)
		crc_init();
	crc = ~crc;
	while (m--)
		crc = crc_table[(crc ^ *b++) & 0xff] ^ crc >> 8;
	return ~crc;
}

/* CRC-16/CCITT, most significant bit first, without a table. */
uint16_t crc16_ccitt(const uint8_t *p, const uint8_t *e, uint16_t crc)
{
	for (; p < e; p++) {
		crc = (uint16_t)(crc ^ *p << 8);
		for (int k = 0; k < 8; k++)
			crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
	}
	return crc;
}

/* CRC-8 with any polynomial. */
uint8_t crc8(const uint8_t *data, unsigned len, uint8_t poly)
{
	uint8_t crc = 0;

	while (len--) {
		crc ^= *data++;
		for (unsigned bit = 0; bit < 8; bit++) {
			if (crc & 0x80)
				crc = (uint8_t)((crc << 1) ^ poly);
			else
				crc = (uint8_t)(crc << 1);
		}
	}
	return crc;
}

/* Adler-32; the sums are reduced only as often as they must be. */
uint32_t adler32(uint32_t adler, const uint8_t *buf, size_t len)
{
	enum { BASE = 65521, NMAX = 5552 };
	uint32_t a = adler & 0xffff, b = adler >> 16;

	while (len > 0) {
		size_t k = len < NMAX ? len : NMAX;

		len -= k;
		do {
			a += *buf++;
			b += a;
		} while (--k);
		a %= BASE;
		b %= BASE;
	}
	return b << 16 | a;
}

/* Fletcher-16. */
unsigned fletcher16(const signed char *s, int n)
{
	unsigned lo = 0, hi = 0;

	for (int i = 0; i < n; i++) {
		lo = (lo + (unsigned char)s[i]) % 255;
		hi = (hi + lo) % 255;
	}
	return hi << 8 | lo;
}

/* The checksum of IP headers: the complement of the one's complement sum of big endian words. */
uint16_t inet_checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t sum = 0;

	for (; len > 1; len -= 2, p += 2)
		sum += (unsigned)p[0] << 8 | p[1];
	if (len)
		sum += (unsigned)*p << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Luhn's check of the digits in a card number; other characters are passed over. */
bool luhn_valid(const char *number)
{
	int sum[2] = { 0, 0 }, n = 0;

	for (; *number; number++) {
		if (*number < '0' || *number > '9')
			continue;
		int d = *number - '0';
		int twice = d * 2 > 9 ? d * 2 - 9 : d * 2;

		/* Which digits count twice shows only at the end. */
		sum[n & 1] += d;
		sum[~n & 1] += twice;
		n++;
	}
	return n > 1 && sum[~n & 1] % 10 == 0;
}

int main(void)
{
	static const char text[] = "123456789";
	const uint8_t *p = (const uint8_t *)text;

	printf("%08x\n", (unsigned)crc32_update(0, text, 9));
	printf("%08x\n", (unsigned)crc32_update(crc32_update(0, text, 4), text + 4, 5));
	printf("%04x %02x\n", crc16_ccitt(p, p + 9, 0xffff), crc8(p, 9, 7));
	printf("%08x %04x %04x\n", (unsigned)adler32(1, p, 9), fletcher16((const signed char *)text, 9),
	       inet_checksum(text, 9));
	printf("%d %d\n", luhn_valid("4539 1488 0343 6467"), luhn_valid("8273 1232 7352 0569"));
	return 0;
}
