/* Knows the units. A number is read as digits and a unit of one of two tables. */
#include "master/values.h"

#include <inttypes.h>

struct unit {
    struct str name;
    int64_t factor;
};

#define UNIT(name, factor) {{name, sizeof(name) - 1}, factor}

/* Falling: the first that divides a value is how it is written. */
static const struct unit sizes[] = {
    UNIT("g", 1 << 30),
    UNIT("m", 1 << 20),
    UNIT("k", 1 << 10),
    UNIT("", 1),
};

static const struct unit durations[] = {
    UNIT("d", 86400000),
    UNIT("h", 3600000),
    UNIT("m", 60000),
    UNIT("s", 1000),
    UNIT("ms", 1),
};

#define COUNT(v) (sizeof(v) / sizeof((v)[0]))

bool
values_bool(struct str text, bool *value)
{
    *value = str_eq(text, STR("true"));
    return *value || str_eq(text, STR("false"));
}

static size_t
digits(struct str text)
{
    size_t n = 0;

    while (n < text.n && text.p[n] >= '0' && text.p[n] <= '9')
        n++;
    return n;
}

static bool
read_decimal(struct str text, int64_t *value)
{
    if (text.n == 0 || (text.n > 1 && text.p[0] == '0'))
        return false;
    return (*value = str_decimal(text)) >= 0;
}

bool
values_int(struct str text, int64_t *value)
{
    bool minus = text.n > 1 && text.p[0] == '-';

    if (!read_decimal((struct str){text.p + minus, text.n - minus}, value))
        return false;
    if (minus)
        *value = -*value;
    return true;
}

static bool
read_unit(struct str text, const struct unit *units, size_t count, int64_t *value)
{
    size_t n = digits(text);
    struct str unit = {text.p + n, text.n - n};

    if (!read_decimal((struct str){text.p, n}, value))
        return false;
    for (size_t i = 0; i < count; i++)
        if (str_eq(unit, units[i].name))
            return !__builtin_mul_overflow(*value, units[i].factor, value);
    return false;
}

bool
values_size(struct str text, int64_t *value)
{
    return read_unit(text, sizes, COUNT(sizes), value);
}

bool
values_duration(struct str text, int64_t *value)
{
    if (str_eq(text, STR("0"))) {
        *value = 0;
        return true;
    }
    return read_unit(text, durations, COUNT(durations), value);
}

bool
values_percent(struct str text, int64_t *value)
{
    if (text.n < 2 || text.p[text.n - 1] != '%')
        return false;
    return read_decimal((struct str){text.p, text.n - 1}, value) && *value <= 1000;
}

bool
values_rate(struct str text, struct rate *value)
{
    static const struct unit units[] = {UNIT("/s", 1000), UNIT("/m", 60000), UNIT("/h", 3600000)};
    size_t n = digits(text);
    struct str unit = {text.p + n, text.n - n};

    if (!read_decimal((struct str){text.p, n}, &value->count) || value->count < 1 || value->count > 1000000000)
        return false;
    for (size_t i = 0; i < COUNT(units); i++)
        if (str_eq(unit, units[i].name)) {
            value->per_ms = units[i].factor;
            return true;
        }
    return false;
}

static struct str
write_unit(int64_t value, const struct unit *units, struct arena *a)
{
    if (value == 0)
        return STR("0");
    while (value % units->factor != 0)
        units++;
    return arena_printf(a, "%" PRId64 "%.*s", value / units->factor, STR_ARG(units->name));
}

struct str
values_size_text(int64_t value, struct arena *a)
{
    return write_unit(value, sizes, a);
}

/* A minute is written as 60s, as the reference does. */
struct str
values_duration_text(int64_t value, struct arena *a)
{
    if (value == 60000)
        return STR("60s");
    return write_unit(value, durations, a);
}
