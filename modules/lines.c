/*
 * It alone knows that a value that came in one line, as nearly every one does, needs no copy.
 */
#include "modules/lines.h"

const struct field *
lines_next(const struct fields *f, struct str name, size_t *at)
{
    enum field_id id = field_id(name);

    if ((f->seen >> id & 1) == 0)
        return NULL;
    while (*at < f->n) {
        const struct field *field = &f->v[(*at)++];

        if (!field->gone && field->id == id && (id != FIELD_OTHER || str_ieq(field->name, name)))
            return field;
    }
    return NULL;
}

static char *
put(char *to, struct str s)
{
    if (s.n > 0)
        memcpy(to, s.p, s.n);
    return to + s.n;
}

struct str
lines_join(const struct fields *f, struct str name, struct str by, struct arena *a)
{
    const struct field *first, *line;
    size_t at = 0, n;
    char *to, *from;

    first = lines_next(f, name, &at);
    if (first == NULL)
        return STR_NONE;
    n = first->value.n;
    while ((line = lines_next(f, name, &at)) != NULL)
        n += by.n + line->value.n;
    if (n == 0)
        return STR("");
    if (n == first->value.n)
        return first->value;

    from = to = arena_alloc(a, n);
    at = 0;
    while ((line = lines_next(f, name, &at)) != NULL) {
        if (line != first)
            to = put(to, by);
        to = put(to, line->value);
    }
    return (struct str){from, n};
}
