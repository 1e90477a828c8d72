/* Reading and writing of comma separated values (RFC 4180). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CSV_MAX_FIELDS 12

struct csv_row {
  char *field[CSV_MAX_FIELDS];
  unsigned count;
  unsigned truncated : 1;
  unsigned malformed : 1;
};

/* Unquotes the field at p in place, returns the separator that ended it (0 at the end of the string),
   and stores where the next field starts. */
static char csv_take_field(char *p, char **next, int *bad) {
  char *w = p, c;

  if (*p != '"') {
    p += strcspn(p, ",\r\n");
    c = *p;
    *next = c ? p + 1 : p;
    *p = '\0';
    return c;
  }
  for (p++; *p; p++) {
    if (*p == '"') {
      if (p[1] != '"')
        break;
      p++;
    }
    *w++ = *p;
  }
  if (*p == '"')
    p++;
  else
    *bad = 1;
  c = *p;
  if (c && c != ',' && c != '\r' && c != '\n')
    *bad = 1;
  *next = c ? p + 1 : p;
  *w = '\0';
  return c;
}

/* Splits one line in place. The number of fields. */
unsigned csv_parse_row(char *line, struct csv_row *row) {
  int bad = 0;
  char c;

  memset(row, 0, sizeof *row);
  do {
    if (row->count == CSV_MAX_FIELDS) {
      row->truncated = 1;
      break;
    }
    row->field[row->count++] = line;
    c = csv_take_field(line, &line, &bad);
  } while (c == ',');
  row->malformed = bad != 0;
  return row->count;
}

/* Does a value need quotes? */
int csv_needs_quotes(const char *s) {
  if (*s == ' ' || *s == '\t')
    return 1;
  return s[strcspn(s, ",\"\r\n")] != '\0';
}

/* Allocates the written form of a value. */
char *csv_quote(const char *value) {
  size_t n = strlen(value), extra = 2, i;
  char *out, *w;

  if (!csv_needs_quotes(value)) {
    out = malloc(n + 1);
    return out ? memcpy(out, value, n + 1) : NULL;
  }
  for (i = 0; i < n; i++)
    extra += value[i] == '"';
  out = w = malloc(n + extra + 1);
  if (!out)
    return NULL;
  *w++ = '"';
  for (i = 0; i < n; i++) {
    if (value[i] == '"')
      *w++ = '"';
    *w++ = value[i];
  }
  *w++ = '"';
  *w = '\0';
  return out;
}

/* How many records a text has: line ends inside quotes don't count, a last line without one does. */
size_t csv_count_rows(const char *text, size_t n) {
  size_t rows = 0, i;
  int quoted = 0, open = 0;

  for (i = 0; i < n; i++) {
    if (text[i] == '"')
      quoted = !quoted;
    if (text[i] == '\n' && !quoted) {
      rows++;
      open = 0;
    } else {
      open = 1;
    }
  }
  return rows + open;
}

/* The sum of a column of integers; rows that lack it are counted in *missing. */
long csv_column_sum(const struct csv_row *rows, size_t n, unsigned column, int *missing) {
  unsigned long sum = 0;

  *missing = 0;
  for (; n--; rows++) {
    char *end;
    long v;

    if (column >= rows->count || column >= CSV_MAX_FIELDS || !rows->field[column]) {
      ++*missing;
      continue;
    }
    v = strtol(rows->field[column], &end, 10);
    if (end == rows->field[column])
      ++*missing;
    else
      sum += (unsigned long)v;
  }
  return (long)sum;
}

int main(void) {
  char one[] = "7,\"say \"\"hi\"\"\",,x y\r\n", two[] = "35,no";
  struct csv_row rows[2];
  int missing;
  long sum;
  char *quoted;

  printf("%u\n", csv_parse_row(one, &rows[0]));
  printf("%u\n", csv_parse_row(two, &rows[1]));
  for (unsigned i = 0; i < rows[0].count; i++)
    printf("<%s>", rows[0].field[i]);
  sum = csv_column_sum(rows, 2, 0, &missing);
  printf("\n%ld %d\n", sum, missing);
  quoted = csv_quote(rows[0].field[1]);
  if (quoted)
    puts(quoted);
  free(quoted);
  printf("%zu\n", csv_count_rows("a,b\n\"x\ny\",c\nlast", 17));
  return 0;
}
