/* Rules of board games. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define LIFE_W 16
#define LIFE_H 12

typedef enum { EMPTY, CROSS, NOUGHT } mark;

struct card { uint8_t rank; uint8_t suit; };
enum hand { HIGH_CARD, PAIR, TWO_PAIRS, THREE, STRAIGHT, FLUSH, FULL_HOUSE, FOUR, STRAIGHT_FLUSH };

static uint8_t field[LIFE_H][LIFE_W];
static unsigned generation;
static uint32_t dice_state = 1;

static int neighbours(int y, int x)
{
    int n = 0;
    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++)
            if (dy || dx)
                n += field[(y + dy + LIFE_H) % LIFE_H][(x + dx + LIFE_W) % LIFE_W] & 1;
    return n;
}

/* One generation of life on a torus; the number of living cells. */
unsigned life_step(void)
{
    uint8_t next[LIFE_H][LIFE_W];
    unsigned alive = 0;

    for (int y = 0; y < LIFE_H; y++) {
        for (int x = 0; x < LIFE_W; x++) {
            int n = neighbours(y, x);
            next[y][x] = n == 3 || (n == 2 && (field[y][x] & 1));
            alive += next[y][x];
        }
    }
    memcpy(field, next, sizeof field);
    generation++;
    return alive;
}

/* A generation of 32 cells in a row, by a rule of Wolfram's. */
uint32_t rule_step(uint32_t row, uint8_t rule)
{
    uint32_t next = 0;
    for (int i = 0; i < 32; i++) {
        unsigned left = row >> ((i + 1) % 32) & 1, self = row >> i & 1, right = row >> ((i + 31) % 32) & 1;
        next |= (uint32_t)(rule >> (left << 2 | self << 1 | right) & 1) << i;
    }
    return next;
}

mark tictactoe_winner(const mark board[9])
{
    static const uint8_t lines[8][3] = {
        {0, 1, 2}, {3, 4, 5}, {6, 7, 8}, {0, 3, 6}, {1, 4, 7}, {2, 5, 8}, {0, 4, 8}, {2, 4, 6},
    };
    for (int i = 0; i < 8; i++) {
        mark m = board[lines[i][0]];
        if (m != EMPTY && m == board[lines[i][1]] && m == board[lines[i][2]])
            return m;
    }
    return EMPTY;
}

/* Negamax: 1 if `turn` can force a win, -1 if it must lose, 0 for a draw. */
int tictactoe_value(mark board[9], mark turn)
{
    int best = -2;
    mark winner = tictactoe_winner(board);

    if (winner != EMPTY)
        return winner == turn ? 1 : -1;
    for (int i = 0; i < 9 && best < 1; i++) {
        int value;
        if (board[i] != EMPTY)
            continue;
        board[i] = turn;
        value = -tictactoe_value(board, turn == CROSS ? NOUGHT : CROSS);
        board[i] = EMPTY;
        if (value > best)
            best = value;
    }
    return best == -2 ? 0 : best;
}

/* No digit twice in a row, column or box; 0 is a free place. */
bool sudoku_valid(const unsigned char grid[81])
{
    uint16_t rows[9] = {0}, cols[9] = {0}, boxes[9] = {0};

    for (int i = 0; i < 81; i++) {
        int r = i / 9, c = i % 9, b = r / 3 * 3 + c / 3;
        uint16_t bit;
        if (grid[i] == 0)
            continue;
        if (grid[i] > 9)
            return false;
        bit = (uint16_t)(1 << grid[i]);
        if ((rows[r] | cols[c] | boxes[b]) & bit)
            return false;
        rows[r] |= bit;
        cols[c] |= bit;
        boxes[b] |= bit;
    }
    return true;
}

/* Fill in every place that has just one candidate; how many were filled. */
int sudoku_singles(unsigned char grid[81])
{
    int filled = 0, before;

    do {
        before = filled;
        for (int i = 0; i < 81; i++) {
            unsigned used = 0, open;
            if (grid[i])
                continue;
            for (int k = 0; k < 81; k++) {
                bool peer = k / 9 == i / 9 || k % 9 == i % 9 || (k / 27 == i / 27 && k % 9 / 3 == i % 9 / 3);
                if (peer && grid[k] <= 9)
                    used |= 1u << grid[k];
            }
            open = ~used & 0x3fe;
            if (open && !(open & (open - 1))) {
                while (!(open >> grid[i] & 1))
                    grid[i]++;
                filled++;
            }
        }
    } while (filled != before);
    return filled;
}

/* Squares that a knight on a square (0..63) attacks, as a bitboard. */
uint64_t knight_attacks(int square)
{
    uint64_t k, attacks = 0;

    if (square < 0 || square > 63)
        return 0;
    k = 1ULL << square;
    attacks |= (k << 17 | k >> 15) & 0xfefefefefefefefeULL;
    attacks |= (k << 15 | k >> 17) & 0x7f7f7f7f7f7f7f7fULL;
    attacks |= (k << 10 | k >> 6) & 0xfcfcfcfcfcfcfcfcULL;
    attacks |= (k << 6 | k >> 10) & 0x3f3f3f3f3f3f3f3fULL;
    return attacks;
}

/* The worth of a poker hand of five; ranks run from 2 to 14. */
enum hand poker_hand(const struct card hand[5])
{
    uint8_t counts[16] = {0};
    int pairs = 0, threes = 0, fours = 0, low = 15, high = 0;
    bool flush = true;

    for (int i = 0; i < 5; i++) {
        int rank = hand[i].rank & 15;
        counts[rank]++;
        if (rank < low) low = rank;
        if (rank > high) high = rank;
        flush = flush && hand[i].suit == hand[0].suit;
    }
    for (int r = 0; r < 16; r++) {
        pairs += counts[r] == 2;
        threes += counts[r] == 3;
        fours += counts[r] >= 4;
    }
    if (pairs + threes + fours == 0 && (high - low == 4 || (counts[14] && counts[2] && counts[3] && counts[4] && counts[5])))
        return flush ? STRAIGHT_FLUSH : STRAIGHT;
    if (fours)
        return FOUR;
    if (threes)
        return pairs ? FULL_HOUSE : THREE;
    if (flush)
        return FLUSH;
    return pairs == 2 ? TWO_PAIRS : pairs == 1 ? PAIR : HIGH_CARD;
}

/* The sum of some dice; the generator is the file's own. */
unsigned roll(uint8_t dice, uint8_t sides)
{
    unsigned sum = 0;

    if (sides == 0)
        return 0;
    while (dice-- > 0) {
        dice_state = dice_state * 1664525u + 1013904223u;
        sum += (dice_state >> 16) % sides + 1;
    }
    return sum;
}

int main(void)
{
    mark board[9] = {CROSS, EMPTY, EMPTY, EMPTY, NOUGHT, EMPTY, EMPTY, EMPTY, CROSS};
    const struct card hand[5] = {{10, 1}, {10, 2}, {7, 0}, {7, 3}, {10, 0}};
    unsigned char grid[81] = {
        5, 3, 0, 0, 7, 0, 0, 0, 0, 6, 0, 0, 1, 9, 5, 0, 0, 0, 0, 9, 8, 0, 0, 0, 0, 6, 0,
        8, 0, 0, 0, 6, 0, 0, 0, 3, 4, 0, 0, 8, 0, 3, 0, 0, 1, 7, 0, 0, 0, 2, 0, 0, 0, 6,
        0, 6, 0, 0, 0, 0, 2, 8, 0, 0, 0, 0, 4, 1, 9, 0, 0, 5, 0, 0, 0, 0, 8, 0, 0, 7, 9,
    };
    unsigned alive = 0;

    field[1][2] = field[2][3] = field[3][1] = field[3][2] = field[3][3] = 1;
    for (int i = 0; i < 20; i++)
        alive = life_step();
    printf("%u alive after %u, %08x\n", alive, generation, rule_step(0x00010000, 30));
    printf("value %d, winner %d\n", tictactoe_value(board, NOUGHT), tictactoe_winner(board));
    printf("sudoku %d", sudoku_valid(grid));
    printf(" %d", sudoku_singles(grid));
    printf(" %d, first row ends in %d\n", sudoku_valid(grid), grid[8]);
    printf("%llx %d %u\n", (unsigned long long)knight_attacks(27), poker_hand(hand), roll(3, 6));
    return 0;
}
