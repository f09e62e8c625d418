/*
 * Structured fields (RFC 8941 4.2): dictionaries. Text in, slices of it out; nothing is allocated.
 */
#ifndef WEIR_STRUCTURED_H
#define WEIR_STRUCTURED_H

#include "worker/base/str.h"

enum structured_type {
    STRUCTURED_BOOLEAN,
    STRUCTURED_NUMBER,          /* integer or decimal: text is its digits */
    STRUCTURED_STRING,          /* text is what stands between the quotes, escapes and all */
    STRUCTURED_TOKEN,
    STRUCTURED_BYTES,           /* text is the base64 */
    STRUCTURED_LIST,            /* an inner list: text is what stands between the parentheses */
};

struct structured {
    enum structured_type type;
    bool truth;                 /* of a boolean */
    struct str text;
};

/*
 * Takes the next member off a dictionary: 1, 0: it has no more, -1: it is none, and no member of it counts. Of a key
 * that comes twice the last value counts (3.2). Parameters are read and left out.
 */
int structured_member(struct str *dictionary, struct str *key, struct structured *value);

/* The same for the items of an inner list. */
int structured_item(struct str *list, struct structured *item);

/* The text of a string into at least s.n bytes, without the escapes; how many that is. */
size_t structured_unescape(char *to, struct str s);

#endif
