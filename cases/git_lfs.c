/* Read the two object ids out of the diff of a Git LFS pointer file.
 *
 * `git diff` shows a changed pointer file like this (the size lines only when the size changed too):
 *
 *     diff --git a/photo.psd b/photo.psd
 *     index 7d1ee4a..c3f0b12 100644
 *     --- a/photo.psd
 *     +++ b/photo.psd
 *     @@ -1,3 +1,3 @@
 *      version https://git-lfs.github.com/spec/v1
 *     -oid sha256:<64 hex digits>
 *     -size 6
 *     +oid sha256:<64 hex digits>
 *     +size 0
 *
 * Words are compared in the byte order of x86-64.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// LLMC: arg copy_64_hex.in elements 64..192
// LLMC: arg copy_64_hex.out elements 64

#define ID_LENGTH 64
#define VERSION_LINE " version https://git-lfs.github.com/spec/v1\n"

#define WORD_DIFF 0x66666964u                /* "diff" */
#define WORD_MINUS_OID 0x64696f2du           /* "-oid" */
#define MINUS_TO_PLUS ('-' ^ '+')            /* turns "-oid" into "+oid" */
#define WORD_HUNK_OLD 0x20332c312d204040u    /* "@@ -1,3 " */
#define WORD_HUNK_NEW 0x0a404020332c312bu    /* "+1,3 @@\n" */
#define WORD_SHA256 0x3a36353261687320u      /* " sha256:" */

/* The index after the next newline; past `size` when there is none. */
size_t consume_line(const char *buf, size_t size, size_t idx)
{
    while (idx < size && buf[idx] != '\n') {
        idx++;
    }
    idx++;
    return idx;
}

/* Copy the 64 digits at `in[idx]` to `out`, without a terminator. */
void copy_64_hex(const char *in, char *out, size_t idx)
{
    for (int i = 0; i < ID_LENGTH; i++) {
        out[i] = in[idx];
        idx++;
    }
}

/* Check the four header lines of a diff; `*idx` becomes the index after the last correct line. */
bool validate(const char *buf, size_t size, size_t *idx)
{
    uint32_t word;

    if (*idx > size || size - *idx < sizeof word) {
        return false;
    }
    memcpy(&word, buf + *idx, sizeof word);
    if (word != WORD_DIFF) {
        return false;
    }
    *idx = consume_line(buf, size, *idx);
    *idx = consume_line(buf, size, *idx);
    if (*idx > size || size - *idx < 4) {
        return false;
    }
    if (buf[*idx] != '-' || buf[*idx + 1] != '-' || buf[*idx + 2] != '-' || buf[*idx + 3] != ' ') {
        return false;
    }
    *idx = consume_line(buf, size, *idx);
    if (*idx > size || size - *idx < 4) {
        return false;
    }
    if (strncmp(buf + *idx, "+++ ", 4) != 0) {
        return false;
    }
    *idx = consume_line(buf, size, *idx);
    return true;
}

/* Put the two ids of the diff `in` in `out`: the old one in bytes 0 to 63, the new one in bytes 64 to 127,
 * without terminators. Returns 1 if the whole diff is valid up to the newline after the new id, else 0. */
int parse_diff(const char *in, size_t in_size, char *out, size_t out_size)
{
    size_t idx = 0;
    uint64_t words[2];
    uint32_t oid;

    if (out_size < 2 * ID_LENGTH || !validate(in, in_size, &idx)) {
        return 0;
    }
    if (idx > in_size || in_size - idx < sizeof words + sizeof VERSION_LINE - 1) {
        return 0;
    }
    memcpy(words, in + idx, sizeof words);
    if (words[0] != WORD_HUNK_OLD || words[1] != WORD_HUNK_NEW) {
        return 0;
    }
    idx += sizeof words;
    if (memcmp(in + idx, VERSION_LINE, sizeof VERSION_LINE - 1) != 0) {
        return 0;
    }
    idx = consume_line(in, in_size, idx);

    if (in_size - idx < 12 + ID_LENGTH + 1) {
        return 0;
    }
    memcpy(&oid, in + idx, sizeof oid);
    memcpy(words, in + idx + sizeof oid, sizeof words[0]);
    if (oid != WORD_MINUS_OID || words[0] != WORD_SHA256) {
        return 0;
    }
    copy_64_hex(in, out, idx + 12);
    idx = consume_line(in, in_size, idx);
    if (idx < in_size && in[idx] == '-') {
        idx = consume_line(in, in_size, idx);
    }

    if (idx > in_size || in_size - idx < 12 + ID_LENGTH + 1) {
        return 0;
    }
    memcpy(&oid, in + idx, sizeof oid);
    if (oid != (WORD_MINUS_OID ^ MINUS_TO_PLUS) || strncmp(in + idx + sizeof oid, " sha256:", 8) != 0) {
        return 0;
    }
    copy_64_hex(in, out + ID_LENGTH, idx + 12);
    return in[idx + 12 + ID_LENGTH] == '\n';
}

#define OLD_ID "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
#define NEW_ID "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define HEADER                                       \
    "diff --git a/photo.psd b/photo.psd\n"           \
    "index 7d1ee4a..c3f0b12 100644\n"                \
    "--- a/photo.psd\n"                              \
    "+++ b/photo.psd\n"
#define HUNK "@@ -1,3 +1,3 @@\n"

static const char changed_size[] =
    HEADER HUNK VERSION_LINE
    "-oid sha256:" OLD_ID "\n"
    "-size 6\n"
    "+oid sha256:" NEW_ID "\n"
    "+size 0\n";
static const char same_size[] =
    HEADER HUNK VERSION_LINE
    "-oid sha256:" NEW_ID "\n"
    "+oid sha256:" OLD_ID "\n"
    " size 6\n";
static const char cut_off[] =
    HEADER HUNK VERSION_LINE
    "-oid sha256:" OLD_ID "\n"
    "-size 6\n"
    "+oid sha256:" NEW_ID;
static const char long_id[] =
    HEADER HUNK VERSION_LINE
    "-oid sha256:" OLD_ID "\n"
    "+oid sha256:" NEW_ID "0\n";
static const char text_file[] =
    HEADER
    "@@ -1,2 +1,2 @@\n"
    "-old\n"
    "+new\n";

int main(void)
{
    char out[2 * ID_LENGTH];
    size_t idx = 0;

    if (!parse_diff(changed_size, sizeof changed_size - 1, out, sizeof out)) {
        return 1;
    }
    if (memcmp(out, OLD_ID NEW_ID, sizeof out) != 0) {
        return 2;
    }
    memset(out, 0, sizeof out);
    if (!parse_diff(same_size, sizeof same_size - 1, out, sizeof out)) {
        return 3;
    }
    if (memcmp(out, NEW_ID OLD_ID, sizeof out) != 0) {
        return 4;
    }
    if (parse_diff(cut_off, sizeof cut_off - 1, out, sizeof out)) {
        return 5;
    }
    if (parse_diff(long_id, sizeof long_id - 1, out, sizeof out)) {
        return 6;
    }
    if (parse_diff(text_file, sizeof text_file - 1, out, sizeof out)) {
        return 7;
    }
    if (parse_diff(same_size, sizeof same_size - 1, out, sizeof out - 1)) {
        return 8;
    }
    if (!validate(text_file, sizeof text_file - 1, &idx) || idx != sizeof HEADER - 1) {
        return 9;
    }
    if (consume_line("no newline", 10, 3) != 11) {
        return 10;
    }
    return 0;
}
