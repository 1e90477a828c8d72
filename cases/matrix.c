/* Arrays of one and two dimensions. */
#include <stddef.h>
#include <stdint.h>

struct matrix {
    float cells[3][3];
};

struct board {
    uint8_t cells[4][8];
};

void transpose(struct matrix *matrix)
{
    for (int row = 1; row < 3; row++) {
        for (int column = 0; column < row; column++) {
            float old = matrix->cells[row][column];
            matrix->cells[row][column] = matrix->cells[column][row];
            matrix->cells[column][row] = old;
        }
    }
}

struct matrix multiply(const struct matrix *a, const struct matrix *b)
{
    struct matrix product = {0};

    for (int row = 0; row < 3; row++) {
        for (int column = 0; column < 3; column++) {
            for (int i = 0; i < 3; i++) {
                product.cells[row][column] += a->cells[row][i] * b->cells[i][column];
            }
        }
    }
    return product;
}

/* Make each value the sum of all up to it. */
void prefix_sums(uint64_t *values, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        values[i] += values[i - 1];
    }
}

int64_t dot_product(const int16_t *a, const int16_t *b, size_t count)
{
    int64_t sum = 0;

    for (size_t i = 0; i < count; i++) {
        sum += (int64_t)a[i] * b[i];
    }
    return sum;
}

/* The index of the largest value, the first of equals; -1 when there are none. */
long largest(const short *values, size_t count)
{
    long best = -1;

    for (size_t i = 0; i < count; i++) {
        if (best < 0 || values[i] > values[best]) {
            best = (long)i;
        }
    }
    return best;
}

/* Living cells around a place on a board whose edges meet. */
unsigned neighbours(const struct board *board, unsigned row, unsigned column)
{
    unsigned living = 0;

    for (unsigned i = 0; i < 9; i++) {
        if (i != 4) {
            living += board->cells[(row + i / 3 + 3) % 4][(column + i % 3 + 7) % 8] & 1;
        }
    }
    return living;
}

/* One step of Conway's game of life; how many cells changed. */
int life_step(struct board *board)
{
    struct board old = *board;
    int changed = 0;

    for (unsigned row = 0; row < 4; row++) {
        for (unsigned column = 0; column < 8; column++) {
            unsigned around = neighbours(&old, row, column);
            uint8_t now = around == 3 || (around == 2 && (old.cells[row][column] & 1));
            changed += now != old.cells[row][column];
            board->cells[row][column] = now;
        }
    }
    return changed;
}

/* Set every bit of `bits` from `start` up to `end`. */
void set_bits(uint32_t *bits, size_t len, size_t start, size_t end)
{
    for (size_t i = start; i < end && i / 32 < len; i++) {
        bits[i / 32] |= UINT32_C(1) << i % 32;
    }
}
