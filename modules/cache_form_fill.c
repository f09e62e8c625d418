/*
 * How a form is made: a request of weir's own (r->own) whose source is the stored response, from its first byte on,
 * while that still comes too; whose filter is the coding; and whose front is a fill, so that nobody waits for a slow
 * client, and nobody's leaving ends what others read.
 *
 * Whether it is worth it is seen before there is a head, where the content is short: what is no smaller than it was is
 * noted as such, in the form's place. Longer content is begun with, and may turn out to be no smaller at its end: who
 * reads it has it whole, and the note takes its place.
 *
 * Invariant: nothing of a form that isn't whole, or whose content may not be stored itself, can be found.
 */
#include "modules/cache_fill.h"
#include "modules/cache_form.h"
#include "worker/base/clock.h"
#include "worker/pipeline.h"
#include "worker/state.h"

#define SEEN_FIRST ((uint64_t)64 * 1024)        /* of what goes in, before there is a head */
#define DRIPPING_US 500000      /* who waits for what comes piece by piece is not kept from its head for longer */
#define REMEMBERED_MS 10000     /* that it can't be decoded */
#define LARGE_REMEMBERED_MS 60000               /* that it is too large to be kept */

struct form {
    struct fill fill;           /* first: a fill is its form */
    struct form_head head;
    struct cache_key key;
    bool dropped;               /* it can't be found when it is whole */
};

static struct form *
form_of(struct fill *p)
{
    return (struct form *)(void *)p;
}

/* There is none: whoever waits does without. For so long nobody tries again. */
static void
refuse(struct fill *p, uint64_t ms)
{
    cache_refuse(worker.cache, p->hold, (uint64_t)clock_ms(), ms, true);
    cache_fill_cut(p);
}

/*
 * What is read has no more at this moment, and nobody knows how much there will be. Or that is known, but an origin
 * that drips would keep all who wait without a head until it has come to SEEN_FIRST.
 */
static bool
is_dry(const struct form *m)
{
    const struct request *f = m->fill.f;

    return m->fill.plain->starved && f->inflow->bytes == 0 &&
           (f->response.length == LENGTH_UNKNOWN || clock_us() - f->times.start > DRIPPING_US);
}

/* Decoded it is for those who can't read what is stored, whatever its size. */
static bool
is_no_smaller(const struct form *m)
{
    uint64_t in, out;

    recode_passed(m->fill.f, &in, &out);
    return m->head.decode == CODING_IDENTITY && out >= in;
}

static bool
is_seen(const struct form *m)
{
    const struct flow *body = &m->fill.f->response.body;
    uint64_t in, out;

    recode_passed(m->fill.f, &in, &out);
    return body->ended || in >= SEEN_FIRST || body->bytes >= body->high;
}

static int
open_with(struct form *m, struct cache_hold *hold, unsigned flags, uint64_t length)
{
    struct form_head head = m->head;
    struct iovec iov = {&head, sizeof(head)};

    head.flags = (uint8_t)flags;
    return cache_open(worker.cache, hold, 0, &iov, 1, length);
}

/* As cache_verdict. */
static void
judge(struct fill *p)
{
    struct form *m = form_of(p);
    const struct flow *body = &p->f->response.body;
    bool seen = is_seen(m), pointless = seen && is_no_smaller(m);
    int result;

    /* what is not of its coding won't be the next time either */
    if (body->broken || cache_fill_is_for_nobody(p)) {
        refuse(p, body->broken && !p->f->inflow->broken ? REMEMBERED_MS : 0);
        return;
    }
    if (!seen && !is_dry(m))
        return;
    result = open_with(m, &p->hold, pointless ? FORM_IS_POINTLESS : 0,
                       pointless     ? 0
                       : body->ended ? body->bytes
                                     : CACHE_LENGTH_UNKNOWN);
    if (result == CACHE_BUSY && cache_fill_come_again(p))
        return;
    if (result != CACHE_OK) {
        refuse(p, result == CACHE_LARGE ? LARGE_REMEMBERED_MS : 0);
        return;
    }
    p->busy_ms = 0;
    m->dropped = pointless;     /* there is no more to say of it */
    p->state = pointless ? FILL_ENDING : FILL_STORING;
    cache_wait_news();
}

/* --- its end --- */

/* In the place of what was made in vain. It is for the next ones: if the store has no moment, they try again. */
static void
leave_note(struct form *m, bool pointless)
{
    struct cache_hold hold;

    if (cache_enter(worker.cache, &m->key, 0, (struct cache_hold){0}, true, (uint64_t)clock_ms(), &hold) != CACHE_BEGUN)
        return;
    if (!pointless)
        cache_refuse(worker.cache, hold, (uint64_t)clock_ms(), LARGE_REMEMBERED_MS, true);
    else if (open_with(m, &hold, FORM_IS_POINTLESS, 0) != CACHE_OK || cache_finish(worker.cache, hold) != CACHE_OK)
        cache_break(worker.cache, hold);
    cache_leave(worker.cache, hold);
}

/* All of it is there, for those who read it; is it for others too? */
static bool
weigh(struct fill *p)
{
    struct form *m = form_of(p);
    bool large = cache_fill_has_gone_by(p->hold), unkept = cache_fill_has_gone_by(p->plain->hold);
    bool pointless = is_no_smaller(m);

    if (m->dropped || (!large && !unkept && !pointless))
        return true;
    if (cache_drop(worker.cache, p->hold) == CACHE_BUSY)
        return false;
    m->dropped = true;
    if (!unkept)
        leave_note(m, pointless);
    return true;
}

/* --- its beginning --- */

void
cache_form_make(const struct cached *a, const struct form_wanted *w, struct cache_hold hold)
{
    struct request *f = cache_fill_copy(a->r);
    struct form *m = arena_zalloc(f->arena, sizeof(*m));
    struct cached *plain = request_note(f, &cache_module, sizeof(*plain));
    struct recode_plan plan;

    m->fill = (struct fill){
        .f = f, .conf = a->conf, .hold = hold, .plain = plain, .verdict = judge, .written = weigh,
    };
    m->head = w->head;
    m->key = w->key;
    cache_fill_begin(&m->fill);
    cache_again(worker.cache, a->hold);
    cache_serve_own(plain, f, a->hold);
    recode_plan(&plan, w->conf, f, w->choice, true);
    if (!recode_begin(f, &plan)) {
        refuse(&m->fill, 0);
        return;
    }
    pipeline_response(f);
    if (!f->finished)
        pipeline_body(f);
}
