// LLMC: program
// LLMC: stdin "2 3 2\n" "1 2 3\n4 5 6\n" "7 8\n9 10\n11 12\n"
#include <stdio.h>

enum { LARGEST = 8 };

static unsigned first[LARGEST][LARGEST], second[LARGEST][LARGEST], product[LARGEST][LARGEST];

static int read_matrix(unsigned matrix[LARGEST][LARGEST], int rows, int columns)
{
    for (int row = 0; row < rows; row++)
        for (int column = 0; column < columns; column++)
            if (scanf("%u", &matrix[row][column]) != 1)
                return 0;
    return 1;
}

static void multiply(int rows, int inner, int columns)
{
    for (int row = 0; row < rows; row++)
        for (int column = 0; column < columns; column++)
            for (int i = 0; i < inner; i++)
                product[row][column] += first[row][i] * second[i][column];
}

int main(void)
{
    int rows, inner, columns;
    if (scanf("%d %d %d", &rows, &inner, &columns) != 3)
        return 1;
    if (rows < 1 || inner < 1 || columns < 1 || rows > LARGEST || inner > LARGEST || columns > LARGEST) {
        printf("sizes are from 1 to %d\n", LARGEST);
        return 1;
    }
    if (!read_matrix(first, rows, inner) || !read_matrix(second, inner, columns)) {
        printf("numbers are missing\n");
        return 1;
    }
    multiply(rows, inner, columns);
    for (int row = 0; row < rows; row++) {
        for (int column = 0; column < columns; column++)
            printf("%s%u", column ? " " : "", product[row][column]);
        printf("\n");
    }
    return 0;
}
