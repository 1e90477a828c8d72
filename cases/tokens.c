/* Enums, switches that become jump tables, and tables of strings. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum token { TOKEN_END, TOKEN_SPACE, TOKEN_WORD, TOKEN_NUMBER, TOKEN_OPERATOR, TOKEN_OPEN, TOKEN_CLOSE, TOKEN_OTHER };

struct token_counts {
    unsigned of[8];
};

enum opcode { OP_HALT, OP_PUSH, OP_ADD, OP_SUB, OP_MUL, OP_AND, OP_OR, OP_XOR, OP_SHIFT, OP_MIN, OP_SWAP, OP_DROP };

enum token classify(char c)
{
    switch (c) {
    case '\0':
        return TOKEN_END;
    case ' ':
    case '\t':
    case '\r':
    case '\n':
        return TOKEN_SPACE;
    case '+':
    case '-':
    case '*':
    case '/':
    case '%':
        return TOKEN_OPERATOR;
    case '(':
    case '[':
        return TOKEN_OPEN;
    case ')':
    case ']':
        return TOKEN_CLOSE;
    default:
        if (c >= '0' && c <= '9') {
            return TOKEN_NUMBER;
        }
        return (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? TOKEN_WORD : TOKEN_OTHER;
    }
}

const char *token_name(enum token token)
{
    static const char *const names[] = {"end", "space", "word", "number", "operator", "open", "close", "other"};

    return token < sizeof names / sizeof names[0] ? names[token] : "?";
}

size_t count_tokens(const char *text, struct token_counts *counts)
{
    enum token last = TOKEN_SPACE;
    size_t total = 0;

    memset(counts, 0, sizeof *counts);
    for (; *text != '\0'; text++) {
        enum token token = classify(*text);
        int goes_on = token == last && (token == TOKEN_WORD || token == TOKEN_NUMBER);
        if (token != TOKEN_SPACE && !goes_on) {
            counts->of[token]++;
            total++;
        }
        last = token;
    }
    return total;
}

int days_in_month(unsigned month, unsigned year)
{
    switch (month) {
    case 1:
        return 31;
    case 2:
        return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
    case 3:
        return 31;
    case 4:
        return 30;
    case 5:
        return 31;
    case 6:
        return 30;
    case 7:
        return 31;
    case 8:
        return 31;
    case 9:
        return 30;
    case 10:
        return 31;
    case 11:
        return 30;
    case 12:
        return 31;
    default:
        return 0;
    }
}

/* Run stack code: the operation in the low half of a byte, an operand in the high half.
 * 0 and the top of the stack in `*result`, or -1 when the stack runs over or empty. */
int run_code(const uint8_t *code, size_t len, uint32_t *result)
{
    uint32_t stack[16];
    unsigned depth = 0;

    for (size_t pc = 0; pc < len; pc++) {
        unsigned operand = code[pc] >> 4;
        enum opcode opcode = code[pc] & 0x0f;
        uint32_t top, below;

        if (opcode == OP_HALT) {
            break;
        }
        if (opcode == OP_PUSH) {
            if (depth == sizeof stack / sizeof stack[0]) {
                return -1;
            }
            stack[depth++] = operand;
            continue;
        }
        if (depth < 2) {
            return -1;
        }
        top = stack[--depth];
        below = stack[depth - 1];
        switch (opcode) {
        case OP_ADD:
            below += top;
            break;
        case OP_SUB:
            below -= top;
            break;
        case OP_MUL:
            below *= top;
            break;
        case OP_AND:
            below &= top;
            break;
        case OP_OR:
            below |= top;
            break;
        case OP_XOR:
            below ^= top;
            break;
        case OP_SHIFT:
            below = below << operand ^ top;
            break;
        case OP_MIN:
            below = below < top ? below : top;
            break;
        case OP_SWAP:
            stack[depth++] = below;
            stack[depth - 2] = top;
            continue;
        case OP_DROP:
            break;
        default:
            return -1;
        }
        stack[depth - 1] = below;
    }
    if (depth == 0) {
        return -1;
    }
    *result = stack[depth - 1];
    return 0;
}

int main(void)
{
    static const uint8_t code[] = {0x71 /* push 7 */, 0x61 /* push 6 */, 0x04 /* mul */,
                                   0x21 /* push 2 */, 0x0a /* swap */,   0x03 /* sub */, 0x00 /* halt */};
    struct token_counts counts;
    uint32_t result;

    if (count_tokens("width * (height + 10)", &counts) != 7 || counts.of[TOKEN_WORD] != 2) {
        return 1;
    }
    if (strcmp(token_name(classify('[')), "open") != 0 || strcmp(token_name(TOKEN_OTHER), "other") != 0) {
        return 2;
    }
    if (days_in_month(2, 2000) != 29 || days_in_month(2, 1900) != 28 || days_in_month(11, 2023) != 30) {
        return 3;
    }
    if (run_code(code, sizeof code, &result) != 0 || result != (uint32_t)-40) {
        return 4;
    }
    return 0;
}
