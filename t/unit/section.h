/* Field lines as a test writes them: "A: 1\nB: 2", each value in memory of its own. */
#ifndef WEIR_SECTION_H
#define WEIR_SECTION_H

#include "worker/field.h"

static inline struct fields
section(struct arena *a, const char *text)
{
    struct str rest = str_of(text);
    struct fields f;

    fields_init(&f, a);
    while (rest.n > 0) {
        struct str value = str_cut(&rest, '\n'), name = str_cut(&value, ':');

        fields_add(&f, arena_copy(a, name), arena_copy(a, str_trim(value)));
    }
    return f;
}

#endif
