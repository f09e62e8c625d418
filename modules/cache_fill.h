/*
 * A fetch of weir's own, as its two files know it: cache_fill.c, its life, and cache_verdict.c, which says what
 * becomes of a response once its head is there.
 */
#ifndef WEIR_CACHE_FILL_H
#define WEIR_CACHE_FILL_H

#include "modules/cache.h"

enum fill_state {
    FILL_ASKING,                     /* no head yet */
    FILL_STORING,
    FILL_RELAYING,
    FILL_ENDING,                     /* all is stored but for the last word */
    FILL_OVER,
};

struct fill {
    struct request *f;
    struct cached *owner;       /* NULL: it is fetched for the store alone, or the owner has left */
    const struct cache_policy *conf;
    enum fill_state state;
    struct cache_hold hold;
    struct cache_hold seen;     /* what is to be validated, or stands in for an error */
    bool validates;             /* the request says so */
    bool plainly;               /* it says of codings what it says for all: weir makes them itself */
    bool confirms;
    bool sending;
    bool authorization;
    struct cache_control asked;
    struct fields fields;       /* that Vary is about */
    struct str rule;            /* of No-Vary-Search, by which it was entered */
    uint64_t since;
    int64_t asked_ms;
    int64_t busy_ms;            /* since when the store has been busy; 0: it isn't */
    struct timer timer;
    struct cached *plain;       /* it makes a form of this; NULL: it fetches */

    /* The head is there, and there may be content: p->state says what becomes of it. FILL_ASKING: it is asked again. */
    void (*verdict)(struct fill *p);
    /* All content was written, and can't be found yet. False: it comes again. NULL: there is nothing to do. */
    bool (*written)(struct fill *p);
};

/* --- cache_fill.c --- */

/* p, whose request is made, takes what that gets: it is its front. */
void cache_fill_begin(struct fill *p);

/* Parts of it are gone: it is more than the store takes. */
bool cache_fill_has_gone_by(struct cache_hold hold);

/* It can't be stored, or takes too long, and nobody waits for it. */
bool cache_fill_is_for_nobody(const struct fill *p);

/* All that was wanted of it is there. The request is over after these two, and the fill with it. */
void cache_fill_end_well(struct fill *p);
/* Nothing of what still comes is wanted. */
void cache_fill_cut(struct fill *p);

/* The store is busy: it comes back soon. False: that has been so for too long. */
bool cache_fill_come_again(struct fill *p);

/* The store has no more of it. */
void cache_fill_leave_holds(struct fill *p);

/* --- cache_verdict.c --- */

/*
 * The head is there: it is stored, refused, or makes good what was seen. p->state says which; FILL_ASKING: come again.
 */
void cache_verdict(struct fill *p);

/* What the log of the owner's request tells of the origin. */
void cache_verdict_note(struct fill *p);

#endif
