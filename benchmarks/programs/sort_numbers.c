// LLMC: program
// LLMC: stdin "5\n3 1 2 3 -7\n"
// LLMC: stdin ""
#include <stdio.h>

enum { CAPACITY = 64 };

static void sort(int *numbers, int count)
{
    for (int i = 1; i < count; i++) {
        int number = numbers[i], at = i;
        while (at > 0 && numbers[at - 1] > number) {
            numbers[at] = numbers[at - 1];
            at--;
        }
        numbers[at] = number;
    }
}

int main(void)
{
    int numbers[CAPACITY], count, read = 0;
    if (scanf("%d", &count) != 1 || count < 0 || count > CAPACITY) {
        puts("expected a count and so many numbers");
        return 1;
    }
    while (read < count && scanf("%d", &numbers[read]) == 1)
        read++;
    sort(numbers, read);
    for (int i = 0; i < read; i++)
        printf("%d%c", numbers[i], i + 1 < read ? ' ' : '\n');
    return read == count ? 0 : 2;
}
