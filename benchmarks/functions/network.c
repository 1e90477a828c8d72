/* Protocol headers: byte order, checksums, fields that are packed in bits. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct ipv4 {
  uint8_t version_ihl;
  uint8_t tos;
  uint16_t total_length;
  uint16_t id;
  uint16_t flags_offset;
  uint8_t ttl;
  uint8_t protocol;
  uint16_t checksum;
  uint8_t source[4];
  uint8_t dest[4];
};

struct tcp_flags {
  unsigned fin : 1;
  unsigned syn : 1;
  unsigned rst : 1;
  unsigned psh : 1;
  unsigned ack : 1;
  unsigned urg : 1;
  unsigned offset : 4;
  signed delta : 6;
};

struct mac { uint8_t octets[6]; };

struct route {
  uint32_t prefix;
  uint8_t bits;
  uint16_t port;
};

static uint16_t next_id = 0x1234;
static struct { unsigned good, bad, short_; } counters;

uint16_t swap16 (uint16_t x) { return (uint16_t) (x << 8 | x >> 8); }

uint32_t swap32 (uint32_t x)
{
  return x >> 24 | (x >> 8 & 0xff00) | (x << 8 & 0xff0000) | x << 24;
}

uint64_t load_be (const uint8_t *p, unsigned width)
{
  uint64_t v = 0;

  for (unsigned i = 0; i < width && i < 8; i++)
    v = v << 8 | p[i];
  return v;
}

void store_be32 (uint8_t *p, uint32_t v)
{
  p[0] = (uint8_t) (v >> 24);
  p[1] = (uint8_t) (v >> 16);
  p[2] = (uint8_t) (v >> 8);
  p[3] = (uint8_t) v;
}

/* The ones' complement sum of RFC 1071 over bytes in network order. */
uint16_t ip_checksum (const void *data, size_t len)
{
  const uint8_t *p = data;
  uint32_t sum = 0;

  while (len > 1)
    {
      sum += (uint32_t) p[0] << 8 | p[1];
      sum = (sum & 0xffff) + (sum >> 16);
      p += 2;
      len -= 2;
    }
  if (len)
    sum += (uint32_t) *p << 8;
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t) ~sum;
}

/* Change a checksum as one 16-bit word changes (RFC 1624). */
uint16_t checksum_adjust (uint16_t sum, uint16_t before, uint16_t after)
{
  uint32_t s = (uint32_t) (uint16_t) ~sum + (uint16_t) ~before + after;

  s = (s & 0xffff) + (s >> 16);
  s = (s & 0xffff) + (s >> 16);
  return (uint16_t) ~s;
}

/* Fill in a header of 20 bytes without options. */
void ipv4_build (struct ipv4 *restrict h, uint8_t protocol, uint16_t payload, const uint8_t src[4], const uint8_t dst[4])
{
  memset (h, 0, sizeof *h);
  h->version_ihl = 4 << 4 | 5;
  h->total_length = swap16 ((uint16_t) (payload + sizeof *h));
  h->id = swap16 (next_id++);
  h->flags_offset = swap16 (0x4000);
  h->ttl = 64;
  h->protocol = protocol;
  memcpy (h->source, src, 4);
  memcpy (h->dest, dst, 4);
  h->checksum = swap16 (ip_checksum (h, sizeof *h));
}

/* The header's length, 0 if the packet is bad; counted either way. */
unsigned ipv4_check (const uint8_t *packet, size_t len)
{
  unsigned header;

  if (len < 20)
    {
      counters.short_++;
      return 0;
    }
  header = (packet[0] & 15) * 4u;
  if (packet[0] >> 4 != 4 || header < 20 || header > len || load_be (packet + 2, 2) > len
      || ip_checksum (packet, header) != 0)
    {
      counters.bad++;
      return 0;
    }
  counters.good++;
  return header;
}

struct tcp_flags tcp_unpack (uint16_t word)
{
  struct tcp_flags f;

  f.fin = word & 1;
  f.syn = word >> 1 & 1;
  f.rst = word >> 2 & 1;
  f.psh = word >> 3 & 1;
  f.ack = word >> 4 & 1;
  f.urg = word >> 5 & 1;
  f.offset = word >> 12;
  f.delta = f.offset > 5 ? (int) f.offset - 5 : -1;
  return f;
}

bool tcp_valid (const struct tcp_flags *f)
{
  if (f->syn && (f->fin || f->rst))
    return false;
  if (f->urg && !f->ack)
    return false;
  return f->offset >= 5 && f->delta >= 0;
}

/* "a.b.c.d" to an address in host order; false for anything else. */
bool parse_ipv4 (const char *s, uint32_t *address)
{
  uint32_t result = 0;

  for (int part = 0; part < 4; part++)
    {
      unsigned value = 0, digits = 0;
      while (*s >= '0' && *s <= '9' && digits < 4)
        {
          value = value * 10 + (unsigned) (*s++ - '0');
          digits++;
        }
      if (digits == 0 || value > 255 || *s != (part < 3 ? '.' : '\0'))
        return false;
      result = result << 8 | value;
      s++;
    }
  *address = result;
  return true;
}

/* The port of the longest prefix that matches, or -1. */
int route_lookup (const struct route *table, size_t count, uint32_t address)
{
  int port = -1, longest = -1;

  for (size_t i = 0; i < count; i++)
    {
      const struct route *r = &table[i];
      uint32_t mask = r->bits == 0 ? 0 : r->bits < 32 ? ~0u << (32 - r->bits) : ~0u;
      if ((address & mask) == (r->prefix & mask) && r->bits > longest)
        {
          longest = r->bits;
          port = r->port;
        }
    }
  return port;
}

/* The interface identifier that IPv6 makes of a MAC address. */
uint64_t mac_to_eui64 (struct mac m)
{
  uint64_t id = load_be (m.octets, 3) << 40 | 0xfffeull << 24 | load_be (m.octets + 3, 3);

  return id ^ 1ull << 57;
}
