/* Dates of the Gregorian calendar, also before it was made. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct date {
    int16_t year;
    uint8_t month, day;
};

struct packed_time {
    uint32_t second : 5; /* half seconds count: 0 to 29 */
    uint32_t minute : 6;
    uint32_t hour : 5;
    uint32_t day : 5;
    uint32_t month : 4;
    uint32_t year : 7; /* since 1980 */
};

enum weekday { SUNDAY, MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY, SATURDAY };

static const char month_names[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

bool is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* 0 for a month that does not exist. */
int days_in_month(int year, int month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    if (month < 1 || month > 12)
        return 0;
    return days[month - 1] + (month == 2 && is_leap(year));
}

bool date_valid(struct date d)
{
    return d.day >= 1 && d.day <= days_in_month(d.year, d.month);
}

/* Days since 1 January 1970. */
int32_t date_to_days(struct date d)
{
    int32_t y = d.year - (d.month <= 2);
    int32_t era = (y >= 0 ? y : y - 399) / 400;
    int32_t of_era = y - era * 400;
    int32_t of_year = (153 * (d.month + (d.month > 2 ? -3 : 9)) + 2) / 5 + d.day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* And back. Days whose year does not fit give the year as if it did, cut off. */
struct date date_from_days(int32_t days)
{
    int64_t z = (int64_t)days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    struct date d;

    d.day = (uint8_t)(doy - (153 * mp + 2) / 5 + 1);
    d.month = (uint8_t)(mp < 10 ? mp + 3 : mp - 9);
    d.year = (int16_t)(yoe + era * 400 + (d.month <= 2));
    return d;
}

enum weekday date_weekday(struct date d)
{
    int32_t w = (date_to_days(d) + 4) % 7;

    return (enum weekday)(w < 0 ? w + 7 : w);
}

/* The same day some months on, or the last of the month if it has no such day. */
struct date date_add_months(struct date d, int months)
{
    int64_t total = (int64_t)d.year * 12 + d.month - 1 + months;
    int64_t year = total / 12, month = total % 12;
    int last;

    if (month < 0) {
        month += 12;
        year--;
    }
    d.year = (int16_t)year;
    d.month = (uint8_t)(month + 1);
    last = days_in_month(d.year, d.month);
    if (d.day > last)
        d.day = (uint8_t)last;
    return d;
}

static int two_digits(const char *s)
{
    if (s[0] < '0' || s[0] > '9' || s[1] < '0' || s[1] > '9')
        return -1;
    return (s[0] - '0') * 10 + (s[1] - '0');
}

/* "2024-02-29", nothing before and nothing behind. */
bool date_parse(const char *text, struct date *out)
{
    struct date d;
    int century, year, month, day;

    if (strlen(text) != 10 || text[4] != '-' || text[7] != '-')
        return false;
    century = two_digits(text);
    year = two_digits(text + 2);
    month = two_digits(text + 5);
    day = two_digits(text + 8);
    if (century < 0 || year < 0 || month < 0 || day < 0)
        return false;
    d.year = (int16_t)(century * 100 + year);
    d.month = (uint8_t)month;
    d.day = (uint8_t)day;
    if (!date_valid(d))
        return false;
    *out = d;
    return true;
}

/* "29 Feb 2024 13:05:58" from a directory entry's time. What snprintf returns. */
int packed_format(struct packed_time t, char *buf, size_t size)
{
    const char *month = t.month >= 1 && t.month <= 12 ? month_names[t.month - 1] : "???";

    return snprintf(buf, size, "%u %s %u %02u:%02u:%02u", (unsigned)t.day, month, (unsigned)t.year + 1980,
                    (unsigned)t.hour, (unsigned)t.minute, (unsigned)t.second * 2);
}

/* The 1-based week of the year by ISO 8601, and the year it belongs to. */
int iso_week(struct date d, int *year)
{
    struct date first = {d.year, 1, 1};
    int32_t day = date_to_days(d), thursday = day + 3 - (date_weekday(d) + 6) % 7;
    struct date middle = date_from_days(thursday);

    first.year = middle.year;
    *year = middle.year;
    return (thursday - date_to_days(first)) / 7 + 1;
}

int main(void)
{
    struct date d;
    struct packed_time t = {29, 5, 13, 29, 2, 44};
    char text[32];
    int year, week;

    if (!date_parse("2024-02-29", &d))
        return 1;
    printf("%d %d\n", (int)date_to_days(d), (int)date_weekday(d));
    d = date_add_months(d, 12);
    printf("%d-%02d-%02d\n", d.year, d.month, d.day);
    d = date_from_days(-1);
    week = iso_week(d, &year);
    printf("%d %d %d\n", d.year, week, year);
    printf("%d %s\n", packed_format(t, text, sizeof text), text);
    return 0;
}
