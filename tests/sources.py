"""Programs that the tests of several rooms judge."""

STATEFUL = r"""
#include <stdio.h>
static int seen[4000];
int accumulate(int x)
{
    int n = seen[0] ? seen[0] + (x & 1) : 1;
    seen[0] = n;
    return n & 63;
}
int main(void)
{
    int sum = 0;
    for (int i = 0; i < 30; i++) printf("%d ", sum += accumulate(i));
    puts("");
    return sum & 127;
}
"""
