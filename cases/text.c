/* Strings and the C library: allocation and output. */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A new string, or NULL when memory is out. */
char *join_path(const char *folder, const char *name)
{
    size_t folder_length = strlen(folder);
    size_t name_length = strlen(name);
    bool slash = folder_length > 0 && folder[folder_length - 1] != '/';
    char *path = malloc(folder_length + slash + name_length + 1);

    if (path == NULL) {
        return NULL;
    }
    memcpy(path, folder, folder_length);
    if (slash) {
        path[folder_length] = '/';
    }
    memcpy(path + folder_length + slash, name, name_length + 1);
    return path;
}

char *repeat(const char *text, unsigned char times)
{
    size_t length = strlen(text);
    char *result = calloc(length * times + 1, 1);

    for (size_t i = 0; result != NULL && i < times; i++) {
        memcpy(result + i * length, text, length);
    }
    return result;
}

/* Take white space off both ends, in place; the length that is left. */
size_t trim(char *text)
{
    size_t start = strspn(text, " \t\r\n");
    size_t end = strlen(text);

    while (end > start && strchr(" \t\r\n", text[end - 1]) != NULL) {
        end--;
    }
    memmove(text, text + start, end - start);
    text[end - start] = '\0';
    return end - start;
}

static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

int compare_ignoring_case(const char *a, const char *b)
{
    while (*a != '\0' && to_lower(*a) == to_lower(*b)) {
        a++;
        b++;
    }
    return (unsigned char)to_lower(*a) - (unsigned char)to_lower(*b);
}

bool matches(const char *pattern, const char *text)
{
    for (; *pattern != '\0'; pattern++, text++) {
        if (*pattern == '*') {
            do {
                if (matches(pattern + 1, text)) {
                    return true;
                }
            } while (*text++ != '\0');
            return false;
        }
        if (*text == '\0' || (*pattern != '?' && *pattern != *text)) {
            return false;
        }
    }
    return *text == '\0';
}

/* Print a line of a table; the width of its bar. */
int print_bar(const char *label, unsigned value, unsigned largest)
{
    int width = largest == 0 ? 0 : (int)(20ull * (value < largest ? value : largest) / largest);

    printf("%-8.8s|", label);
    for (int i = 0; i < width; i++) {
        putchar('#');
    }
    printf("%*s %u\n", 20 - width, "|", value);
    return width;
}

void report(bool passed, const char *name)
{
    if (passed) {
        puts("passed");
    } else {
        printf("FAILED %s\n", name);
    }
}

int main(void)
{
    char padded[] = "  two words \r\n";
    char *path = join_path("photos/2023", "cat.png");
    char *line = repeat("-=", 5);
    bool passed = path != NULL && strcmp(path, "photos/2023/cat.png") == 0 && line != NULL &&
                  strcmp(line, "-=-=-=-=-=") == 0;

    free(path);
    free(line);
    passed = passed && trim(padded) == 9 && strcmp(padded, "two words") == 0;
    passed = passed && compare_ignoring_case("README", "Readme") == 0 && compare_ignoring_case("a", "B") < 0;
    passed = passed && matches("*.p?g", "cat.png") && !matches("*.p?g", "cat.jpeg");
    passed = passed && print_bar("cats", 30, 40) == 15;
    report(passed, "text");
    return !passed;
}
