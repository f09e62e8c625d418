/*
 * Timers: a hierarchical wheel of 6 × 64 slots in milliseconds; setting and stopping are O(1). Moving
 * a timer that is set further out only notes the new time; it is put in its place when it would have fired.
 */
#ifndef WEIR_TIMER_H
#define WEIR_TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct timer {
    struct timer *next, **link; /* link NULL: not set */
    int64_t at;                 /* when it is due, on the loop's clock */
    int64_t slot_at;            /* when it is looked at */
    uint16_t slot;              /* where it hangs */
    void (*fire)(struct timer *t);
};

void timers_init(int64_t now_ms);

/* In ms milliseconds from clock_ms(); moves it if it is set. ms <= 0 fires at the next turn. */
void timer_set(struct timer *t, int64_t ms);
void timer_stop(struct timer *t);

#define TIMER_NEVER INT64_MAX

/*
 * As timer_stop, for one that will soon be set again: it stays on its list until it would have been looked at, so
 * that neither costs anything. Its memory may only go after a timer_stop.
 */
static inline void
timer_rest(struct timer *t)
{
    t->at = TIMER_NEVER;
}

static inline bool
timer_is_set(const struct timer *t)
{
    return t->link != 0 && t->at != TIMER_NEVER;
}

/* Fires all that are due. Callbacks may set and stop any timer. */
void timers_run(int64_t now_ms);

/* Milliseconds until something has to be looked at: never later than the first timer; -1: none is set. */
int timers_wait(int64_t now_ms);

#endif
