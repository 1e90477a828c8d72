/* Machines that are fed a character or a buffer at a time. */
#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum telnet_state { DATA, IAC, OPTION, SUB, SUB_IAC };
enum { CMD_SE = 240, CMD_SB = 250, CMD_WILL, CMD_WONT, CMD_DO, CMD_DONT, CMD_IAC };

struct telnet {
    enum telnet_state state;
    uint8_t command;
    uint8_t sub[16];
    unsigned sub_len;
    unsigned options_seen;
};

enum frame_status { FRAME_MORE, FRAME_DONE, FRAME_BAD };

struct frame {
    uint8_t kind, len, got, sum;
    uint8_t payload[32];
    enum { WAIT_START, WAIT_KIND, WAIT_LEN, WAIT_PAYLOAD, WAIT_SUM } state;
};

typedef enum { RED, RED_AMBER, GREEN, AMBER, BLINKING } light_t;

static light_t light = RED;
static unsigned light_ticks;
static char last_header[32];

/* One byte from the line. The byte, if it is data; -1 if it is part of a command. */
int telnet_feed(struct telnet *t, uint8_t byte)
{
    switch (t->state) {
    case DATA:
        if (byte != CMD_IAC)
            return byte;
        t->state = IAC;
        return -1;
    case IAC:
        switch (byte) {
        case CMD_IAC:
            t->state = DATA;
            return CMD_IAC;
        case CMD_WILL:
        case CMD_WONT:
        case CMD_DO:
        case CMD_DONT:
            t->command = byte;
            t->state = OPTION;
            break;
        case CMD_SB:
            t->sub_len = 0;
            t->state = SUB;
            break;
        default:
            t->state = DATA;
        }
        return -1;
    case OPTION:
        t->options_seen++;
        t->state = DATA;
        return -1;
    case SUB:
        if (byte == CMD_IAC)
            t->state = SUB_IAC;
        else if (t->sub_len < sizeof t->sub)
            t->sub[t->sub_len++] = byte;
        return -1;
    case SUB_IAC:
        if (byte == CMD_IAC && t->sub_len < sizeof t->sub)
            t->sub[t->sub_len++] = byte;
        t->state = byte == CMD_SE ? DATA : SUB;
        return -1;
    }
    t->state = DATA;
    return -1;
}

/* Take the commands out of a buffer: the data moves to the front, its size is returned. */
size_t telnet_filter(struct telnet *t, uint8_t *buf, size_t len)
{
    uint8_t *to = buf;

    for (size_t i = 0; i < len; i++) {
        int c = telnet_feed(t, buf[i]);
        if (c >= 0)
            *to++ = (uint8_t)c;
    }
    return (size_t)(to - buf);
}

/* 0x7e kind length payload sum */
enum frame_status frame_feed(struct frame *f, uint8_t c)
{
    switch (f->state) {
    default:
    case WAIT_START:
        f->sum = 0;
        f->got = 0;
        f->state = c == 0x7e ? WAIT_KIND : WAIT_START;
        return FRAME_MORE;
    case WAIT_KIND:
        f->kind = c;
        f->state = WAIT_LEN;
        break;
    case WAIT_LEN:
        f->len = c;
        if (c > sizeof f->payload) {
            f->state = WAIT_START;
            return FRAME_BAD;
        }
        f->state = c ? WAIT_PAYLOAD : WAIT_SUM;
        break;
    case WAIT_PAYLOAD:
        if (f->got < sizeof f->payload)
            f->payload[f->got++] = c;
        if (f->got >= f->len)
            f->state = WAIT_SUM;
        break;
    case WAIT_SUM:
        f->state = WAIT_START;
        return c == f->sum ? FRAME_DONE : FRAME_BAD;
    }
    f->sum ^= c;
    return FRAME_MORE;
}

/* Remove comments, line ends kept, strings left alone. The new length; *open is set if a comment has no end. */
size_t strip_comments(char *s, size_t n, bool *open)
{
    enum { CODE, SLASH, LINE, BLOCK, STAR, STRING, ESCAPE } state = CODE;
    size_t out = 0;
    char quote = 0;

    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        switch (state) {
        case SLASH:
            if (c == '/' || c == '*') {
                state = c == '/' ? LINE : BLOCK;
                s[out++] = ' ';
                break;
            }
            s[out++] = '/';
            state = CODE;
            /* fall through */
        case CODE:
            if (c == '/') {
                state = SLASH;
                break;
            }
            if (c == '"' || c == '\'') {
                quote = c;
                state = STRING;
            }
            s[out++] = c;
            break;
        case LINE:
            if (c == '\n') {
                s[out++] = c;
                state = CODE;
            }
            break;
        case BLOCK:
        case STAR:
            if (c == '/' && state == STAR)
                state = CODE;
            else
                state = c == '*' ? STAR : BLOCK;
            if (c == '\n')
                s[out++] = c;
            break;
        case STRING:
            s[out++] = c;
            if (c == '\\')
                state = ESCAPE;
            else if (c == quote || c == '\n')
                state = CODE;
            break;
        case ESCAPE:
            s[out++] = c;
            state = STRING;
            break;
        }
    }
    if (state == SLASH)
        s[out++] = '/';
    *open = state == BLOCK || state == STAR;
    return out;
}

/*
 * Split "Name: value" into its parts; the name, in lower case, is kept in the file's own buffer.
 * The value without blanks around it, its length in *len; NULL if the line is no header.
 */
const char *parse_header(const char *line, size_t *len)
{
    const char *p = line, *end;
    size_t n = 0;

    while (isalnum((unsigned char)*p) || *p == '-' || *p == '_') {
        if (n + 1 >= sizeof last_header)
            return NULL;
        last_header[n++] = (char)tolower((unsigned char)*p++);
    }
    if (n == 0 || *p != ':')
        return NULL;
    last_header[n] = '\0';
    do
        p++;
    while (*p == ' ' || *p == '\t');
    end = p + strcspn(p, "\r\n");
    while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *len = (size_t)(end - p);
    return p;
}

/* The name of the last line that parse_header has read. */
const char *header_name(void)
{
    return last_header;
}

/* The status code of "HTTP/1.x NNN ...", 0 for anything else. */
int http_status(const char *line)
{
    int code = 0;

    if (strncmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') || line[8] != ' ')
        return 0;
    for (int i = 9; i < 12; i++) {
        if (line[i] < '0' || line[i] > '9')
            return 0;
        code = code * 10 + (line[i] - '0');
    }
    return line[12] == ' ' || line[12] == '\r' || line[12] == '\0' ? code : 0;
}

/* A second passes at the traffic light; `fault` makes it blink. The new state. */
light_t light_tick(bool fault)
{
    static const uint8_t seconds[] = {30, 2, 25, 3, 1};

    if (fault && light != BLINKING) {
        light = BLINKING;
        light_ticks = 0;
        return light;
    }
    if (++light_ticks < seconds[light <= BLINKING ? light : RED])
        return light;
    light_ticks = 0;
    if (light == BLINKING)
        light = fault ? BLINKING : RED;
    else
        light = light == AMBER ? RED : (light_t)(light + 1);
    return light;
}

/* Whether an unsigned decimal fraction such as "12", "1.5" or ".5e-3" is well formed. */
bool is_number(const char *s)
{
    static const signed char next[6][4] = {
        /* digit, point, e, sign */
        {1, 2, -1, -1},  /* start */
        {1, 3, 4, -1},   /* digits */
        {3, -1, -1, -1}, /* point without digits */
        {3, -1, 4, -1},  /* fraction */
        {5, -1, -1, 4},  /* exponent */
        {5, -1, -1, -1}, /* digits of the exponent */
    };
    int state = 0;

    for (; *s; s++) {
        int kind = *s >= '0' && *s <= '9' ? 0 : *s == '.' ? 1 : (*s | 32) == 'e' ? 2 : *s == '+' || *s == '-' ? 3 : -1;
        if (kind < 0)
            return false;
        state = next[state][kind];
        if (state < 0)
            return false;
    }
    return state == 1 || state == 3 || state == 5;
}
