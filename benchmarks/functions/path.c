/* File names: pure text, no file is looked at. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The part after the last slash. */
const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The extension with its dot; "" when there is none. ".profile" has none. */
const char *path_extension(const char *path)
{
    const char *base = path_base(path);
    const char *dot = strrchr(base, '.');

    if (dot == NULL || dot == base)
        return base + strlen(base);
    return dot;
}

/* Write the folder of a path, "." when it has none. False when it does not fit. */
bool path_dir(const char *path, char *out, size_t out_size)
{
    size_t n = (size_t)(path_base(path) - path);

    while (n > 1 && path[n - 1] == '/')
        n--;
    if (n == 0) {
        path = ".";
        n = 1;
    }
    if (n >= out_size)
        return false;
    memcpy(out, path, n);
    out[n] = '\0';
    return true;
}

/* "a/./b//../c" becomes "a/c", in place. Leading ".." stay, except at the root. */
void path_normalize(char *path)
{
    bool rooted = path[0] == '/';
    char *in = path, *out = path, *floor;

    if (rooted) {
        in++;
        out++;
    }
    floor = out;
    while (*in != '\0') {
        size_t n = strcspn(in, "/");
        char *next = in + n + (in[n] == '/');

        if (n == 2 && in[0] == '.' && in[1] == '.') {
            if (out > floor) {
                do {
                    out--;
                } while (out > floor && out[-1] != '/');
            } else if (!rooted) {
                memmove(out, "../", 2);
                out += 2;
                if (out < next)
                    *out++ = '/';
                floor = out;
            }
        } else if (n != 0 && !(n == 1 && in[0] == '.')) {
            memmove(out, in, n);
            out += n;
            if (in[n] == '/')
                *out++ = '/';
        }
        in = next;
    }
    if (out > path + 1 && out[-1] == '/')
        out--;
    *out = '\0';
}

/* Join two paths into fresh memory. An absolute second path stands alone. */
char *path_join(const char *head, const char *tail)
{
    size_t n = strlen(head), m = strlen(tail);
    bool slash = n > 0 && head[n - 1] != '/';
    char *made;

    if (*tail == '/') {
        n = 0;
        slash = false;
    }
    made = malloc(n + slash + m + 1);
    if (made == NULL)
        goto out;
    memcpy(made, head, n);
    if (slash)
        made[n] = '/';
    memcpy(made + n + slash, tail, m + 1);
out:
    return made;
}

/* How many components a path has: "/usr//lib/" has two. */
unsigned path_depth(const char *p)
{
    unsigned depth = 0;
    char last = '/';

    for (; *p; last = *p++)
        depth += *p != '/' && last == '/';
    return depth;
}

/* Whether `inner` is `outer` or lies below it; both are normal. */
bool path_within(const char *outer, const char *inner)
{
    size_t n = strlen(outer);

    if (strncmp(outer, inner, n) != 0)
        return false;
    if (n > 0 && outer[n - 1] == '/')
        return true;
    return inner[n] == '\0' || inner[n] == '/';
}

int main(void)
{
    char path[] = "../a/./b//../c/", dir[8];
    char *joined;

    path_normalize(path);
    puts(path);
    printf("%s %s\n", path_base("/usr/lib/libm.so"), path_extension("x.tar.gz"));
    if (path_dir("/usr", dir, sizeof dir))
        puts(dir);
    joined = path_join("/usr", "bin");
    if (joined != NULL)
        printf("%s %u %d\n", joined, path_depth(joined), path_within("/usr", joined));
    free(joined);
    return 0;
}
