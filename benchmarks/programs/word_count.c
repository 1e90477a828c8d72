// LLMC: program
// LLMC: stdin "one two\n" "three\n"
// LLMC: argv "-l"
// LLMC: argv "-w"
// LLMC: argv "-c" "poem.txt"
// LLMC: argv "missing.txt"
// LLMC: file "poem.txt" "the rose\n" "is red\n"
#include <stdio.h>
#include <string.h>

struct counts {
    long lines, words, bytes;
};

static struct counts count(FILE *input)
{
    struct counts counts = {0, 0, 0};
    int is_inside = 0, character;
    while ((character = getc(input)) != EOF) {
        int is_blank = strchr(" \t\n\v\f\r", character) != NULL && character;
        counts.bytes++;
        counts.lines += character == '\n';
        counts.words += !is_blank && !is_inside;
        is_inside = !is_blank;
    }
    return counts;
}

int main(int argc, char **argv)
{
    const char *options = "lwc";
    int at = 1;
    if (at < argc && argv[at][0] == '-')
        options = argv[at++] + 1;
    FILE *input = at < argc ? fopen(argv[at], "r") : stdin;
    if (!input) {
        fprintf(stderr, "%s: no such file\n", argv[at]);
        return 1;
    }
    struct counts counts = count(input);
    if (strchr(options, 'l'))
        printf("%7ld", counts.lines);
    if (strchr(options, 'w'))
        printf("%7ld", counts.words);
    if (strchr(options, 'c'))
        printf("%7ld", counts.bytes);
    printf("%s%s\n", at < argc ? " " : "", at < argc ? argv[at] : "");
    return 0;
}
