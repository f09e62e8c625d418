/*
 * A form of a stored response, as its two files know it: cache_form.c, who wants it, and cache_form_fill.c, how it is
 * made. It is an object of its own, of content alone, that only the response itself leads to.
 */
#ifndef WEIR_CACHE_FORM_H
#define WEIR_CACHE_FORM_H

#include "modules/cache.h"
#include "modules/compress.h"

/* The head that it is stored with (CACHE_HEADS is its version too). */
struct form_head {
    uint64_t content;           /* cache_head_content of what it is made of */
    uint8_t decode, encode;     /* enum coding: how that was coded, and how this is */
    uint8_t level;
    uint8_t flags;
    uint32_t nothing;
};

#define FORM_IS_POINTLESS 1     /* it would be no smaller: there is no content */

struct form_wanted {
    struct form_head head;
    struct cache_key key;
    const struct compress_policy *conf;
    const struct compress_choice *choice;
};

/*
 * Makes it, of what a reads: a request of weir's own, which ends by itself. `hold` (its own count) is what cache_enter
 * gave for it. It may have ended on return.
 */
void cache_form_make(const struct cached *a, const struct form_wanted *w, struct cache_hold hold);

#endif
