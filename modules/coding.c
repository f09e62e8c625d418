/* Names of content codings, and how a message's content is coded by its fields. */
#include "modules/coding.h"

/* By enum coding. */
static const struct str names[CODINGS] = {
    [CODING_IDENTITY] = {"identity", 8},
    [CODING_ZSTD] = {"zstd", 4},
    [CODING_BR] = {"br", 2},
    [CODING_GZIP] = {"gzip", 4},
};

struct str
coding_name(enum coding c)
{
    return c < CODINGS ? names[c] : STR_NONE;
}

enum coding
coding_of(struct str name)
{
    int c;

    if (str_ieq(name, STR("x-gzip")))
        return CODING_GZIP;
    for (c = 0; c < CODINGS; c++)
        if (str_ieq(name, names[c]))
            break;
    return c;
}

/*
 * "identity" has no place in Content-Encoding (RFC 9110 8.4.1, 12.5.3): what an origin means that says so, others may
 * read otherwise.
 */
enum coding
coding_of_message(const struct fields *f)
{
    enum coding found = CODING_IDENTITY;
    struct str list, member;

    for (size_t i = 0; i < f->n; i++) {
        if (f->v[i].gone || !str_ieq(f->v[i].name, STR("Content-Encoding")))
            continue;
        list = f->v[i].value;
        while (str_list_next(&list, &member)) {
            if (found != CODING_IDENTITY)
                return CODINGS;
            found = coding_of(member);
            if (found == CODING_IDENTITY || found == CODINGS)
                return CODINGS;
        }
    }
    return found;
}
