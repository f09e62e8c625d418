/*
 * The timer wheel. It alone knows where a timer hangs.
 *
 * A level has 64 slots; a slot of level l spans 64^l milliseconds. `now` is the time up to which the wheel
 * was turned. A timer hangs at the level of the highest base-64 digit in which its time differs from
 * `now`, in the slot of that digit, so a slot is never further than one round away, and lower levels
 * come before higher ones. When `now` comes to the start of a slot its timers move down a level, or,
 * at the lowest, are due. A bitmap a level says which slots hold something: finding the next one is
 * one rotation and one count of zeros a level, however far the clock has jumped.
 *
 * Invariants: a bit is set if and only if its slot is not empty; a timer's slot_at is never later than
 * its at; the lists `due` and `firing` belong to no level.
 */
#include "worker/base/timer.h"

#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "worker/base/clock.h"

#define BITS 6
#define SLOTS (1 << BITS)
#define LEVELS 6
#define TOP_SHIFT (BITS * (LEVELS - 1))
#define DUE (LEVELS * SLOTS)            /* the slot number of what hangs in `due` or `firing` */
#define SLOT_FURTHEST ((int64_t)(SLOTS - 2) << TOP_SHIFT)
#define FURTHEST ((int64_t)1 << 50)     /* later is never */

static int64_t now;
static struct timer *slots[LEVELS * SLOTS];
static uint64_t occupied[LEVELS];
static struct timer *due, **due_end = &due;     /* to fire when timers_run is called next */
static struct timer *firing;                    /* what it is firing now */

void
timers_init(int64_t now_ms)
{
    now = now_ms;
    memset(slots, 0, sizeof(slots));
    memset(occupied, 0, sizeof(occupied));
    due = firing = NULL;
    due_end = &due;
}

static void
hang(struct timer *t, struct timer **head)
{
    t->next = *head;
    t->link = head;
    if (t->next != NULL)
        t->next->link = &t->next;
    *head = t;
}

static void
hang_due(struct timer *t)
{
    t->slot = DUE;
    t->next = NULL;
    t->link = due_end;
    *due_end = t;
    due_end = &t->next;
}

static void
unhang(struct timer *t)
{
    if (due_end == &t->next)
        due_end = t->link;
    *t->link = t->next;
    if (t->next != NULL)
        t->next->link = t->link;
    t->link = NULL;
    if (t->slot != DUE && slots[t->slot] == NULL)
        occupied[t->slot / SLOTS] &= ~(UINT64_C(1) << t->slot % SLOTS);
}

/* Where t->at belongs, as seen from `now`; nowhere if it rests. */
static void
place(struct timer *t)
{
    int level;
    unsigned digit;

    if (t->at == TIMER_NEVER) {
        t->link = NULL;
        return;
    }
    t->slot_at = t->at;
    if (t->slot_at <= now) {
        hang_due(t);
        return;
    }
    if (t->slot_at - now > SLOT_FURTHEST)
        t->slot_at = now + SLOT_FURTHEST;
    level = (63 - __builtin_clzll((unsigned long long)(t->slot_at ^ now))) / BITS;
    /* crossing the top level's end wraps around to its first slots */
    if (level > LEVELS - 1)
        level = LEVELS - 1;
    digit = (unsigned)(t->slot_at >> (BITS * level)) % SLOTS;
    t->slot = (uint16_t)(level * SLOTS + (int)digit);
    occupied[level] |= UINT64_C(1) << digit;
    hang(t, &slots[t->slot]);
}

void
timer_set(struct timer *t, int64_t ms)
{
    if (ms < 0)
        ms = 0;
    if (ms > FURTHEST)
        ms = FURTHEST;
    t->at = clock_ms() + ms;
    if (t->link != NULL) {
        if (t->at >= t->slot_at)
            return;
        unhang(t);
    }
    place(t);
}

void
timer_stop(struct timer *t)
{
    if (t->link != NULL)
        unhang(t);
}

/* The slot that is to be looked at first and the time at which it starts; -1: all are empty. */
static int
next_slot(int64_t *at)
{
    int best = -1;

    *at = INT64_MAX;
    for (int level = 0; level < LEVELS; level++) {
        uint64_t bits = occupied[level];
        int64_t round = now >> (BITS * level);
        unsigned digit = (unsigned)round % SLOTS, ahead;
        int64_t start;

        if (bits == 0)
            continue;
        bits = bits >> digit | bits << (-digit % SLOTS);
        ahead = (unsigned)__builtin_ctzll(bits);
        start = (round + ahead) << (BITS * level);
        if (start < *at) {
            best = level * SLOTS + (int)((digit + ahead) % SLOTS);
            *at = start;
        }
    }
    return best;
}

/* Turns the wheel: whatever has come due by then hangs in `due`. */
static void
turn(int64_t to)
{
    int64_t at;
    int slot;

    while ((slot = next_slot(&at)) >= 0 && at <= to) {
        struct timer *t = slots[slot];

        if (at > now)
            now = at;
        slots[slot] = NULL;
        occupied[slot / SLOTS] &= ~(UINT64_C(1) << slot % SLOTS);
        while (t != NULL) {
            struct timer *next = t->next;

            place(t);
            t = next;
        }
    }
    if (to > now)
        now = to;
}

void
timers_run(int64_t now_ms)
{
    turn(now_ms);
    firing = due;
    if (firing == NULL)
        return;
    firing->link = &firing;
    due = NULL;
    due_end = &due;
    while (firing != NULL) {
        struct timer *t = firing;

        unhang(t);
        if (t->at > now)
            place(t);           /* it was moved since, or rests */
        else
            t->fire(t);
    }
}

int
timers_wait(int64_t now_ms)
{
    int64_t at;

    if (due != NULL)
        return 0;
    if (next_slot(&at) < 0)
        return -1;
    if (at <= now_ms)
        return 0;
    return at - now_ms > INT_MAX ? INT_MAX : (int)(at - now_ms);
}
