"""Programs that the tests of several rooms judge."""

STATEFUL = r"""
#include <stdio.h>
static int seen[20000];
int accumulate(int x)
{
    int n = seen[9999] ? seen[9999] + (x & 1) : 1;
    seen[9999] = n;
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

TWICE_C = "int twice(int x) { return (int)(2u * (unsigned)x); }\n"
"""One function, which the tests of the tasks beside `asm` ask for."""
TWICE_IR = "define i32 @twice(i32 %x) {\n  %y = shl i32 %x, 1\n  ret i32 %y\n}\n"
"""The same function as IR."""
