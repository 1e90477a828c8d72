// LLMC: program
// LLMC: stdin "3\n" ".....\n..#..\n..#..\n..#..\n.....\n"
// LLMC: stdin "1\n" "##\n##\n"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 24, COLUMNS = 40, GENERATIONS = 50 };

static char cells[ROWS][COLUMNS + 2], next[ROWS][COLUMNS + 2];
static int rows, columns;

static int count_neighbours(int row, int column)
{
    int count = 0;
    for (int down = -1; down <= 1; down++)
        for (int right = -1; right <= 1; right++) {
            int y = row + down, x = column + right;
            if ((down || right) && y >= 0 && y < rows && x >= 0 && x < columns)
                count += cells[y][x] == '#';
        }
    return count;
}

static void step(void)
{
    for (int row = 0; row < rows; row++)
        for (int column = 0; column < columns; column++) {
            int count = count_neighbours(row, column);
            int lives = count == 3 || (count == 2 && cells[row][column] == '#');
            next[row][column] = lives ? '#' : '.';
        }
    memcpy(cells, next, sizeof cells);
}

int main(void)
{
    char line[COLUMNS + 2];
    if (!fgets(line, sizeof line, stdin))
        return 1;
    int generations = atoi(line);
    if (generations < 0 || generations > GENERATIONS)
        return 2;
    while (rows < ROWS && fgets(line, sizeof line, stdin)) {
        int length = (int)strcspn(line, "\n");
        memcpy(cells[rows], line, (size_t)length);
        columns = length > columns ? length : columns;
        rows++;
    }
    for (int i = 0; i < generations; i++)
        step();
    for (int row = 0; row < rows; row++) {
        for (int column = 0; column < columns; column++)
            putchar(cells[row][column] == '#' ? '#' : '.');
        putchar('\n');
    }
    return 0;
}
