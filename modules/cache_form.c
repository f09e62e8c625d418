/*
 * Forms of a stored response: its content in another coding, each made once for all workers and kept beside it. It
 * alone knows the key of a form, which is made of the response's key and of the number that its content was given when
 * it was stored: so a form is reached through the response alone, and what holds for that (purges, tags, Vary, its
 * age, a 304) holds for its forms. One that nothing leads to any more goes as all goes that nobody asks for.
 *
 * Invariants: a request that waits for a form holds what that is made of by its lease, as if it were serving that; what
 * comes of the wait is told by what EDIT's hook is called for again, never from inside the making. Whatever goes wrong
 * before a form has a head is no more than that there is none.
 */
#include "modules/cache_form.h"

#include "worker/base/clock.h"
#include "worker/source.h"
#include "worker/state.h"

#define PATIENCE_MS 1000        /* with a busy store: to do without a form costs more than to wait a while */
#define TRIES 4                 /* of finding that another was there first */

/* All of what is stored is the response's content, or would be that of GET. */
static bool
is_whole(const struct cached *a)
{
    const struct request *r = a->r;

    return r->source == &cache_source && r->source_state == a &&
           (a->step == CACHED_SERVING || a->step == CACHED_FORMING) && a->lease != NULL &&
           (!r->no_content || r->method == METHOD_HEAD) && r->status != 206 && r->status != 304 && a->ranges == NULL;
}

/*
 * A key is a digest, and content a random number that nobody is told: mixed they are as good as another digest, for
 * much less. That it is the right one is seen by the head.
 */
static struct cache_key
key_of(const struct cache_key *plain, const struct form_head *head)
{
    uint64_t what = (uint64_t)head->decode << 16 | (uint64_t)head->encode << 8 | head->level;
    struct cache_key key = *plain;

    key.word[0] ^= head->content;
    key.word[1] ^= (what + 1) * UINT64_C(0x9E3779B97F4A7C15);   /* odd: no two are alike */
    return key;
}

/* False: nothing can be made of it, or not for long. */
static bool
describe(struct form_wanted *w, const struct cached *a, const struct compress_policy *conf,
         const struct compress_choice *choice)
{
    struct form_head *head = &w->head;
    struct cache_view v;

    *w = (struct form_wanted){.conf = conf, .choice = choice};
    cache_look(worker.cache, a->hold, &v);
    if (v.head == NULL || v.base > 0 || v.state == CACHE_BROKEN)
        return false;
    *head = (struct form_head){
        .content = cache_head_content(v.head), .decode = (uint8_t)choice->decode, .encode = (uint8_t)choice->encode,
        .level = choice->encode != CODING_IDENTITY ? (uint8_t)conf->stored.of[choice->encode] : 0,
    };
    w->key = key_of(&a->key, head);
    return head->content != 0;
}

/* Where it isn't what it should be, there is none. */
static enum cache_form
what_is(const struct cache_view *v, const struct form_wanted *w)
{
    const struct form_head *is = v->head;

    if (v->head_n != sizeof(*is) || is->content != w->head.content || is->decode != w->head.decode ||
        is->encode != w->head.encode || is->level != w->head.level)
        return FORM_NONE;
    return is->flags & FORM_IS_POINTLESS ? FORM_POINTLESS : FORM_SERVED;
}

/* Its hold becomes the lease's, or is left. */
static int
take(struct cached *a, const struct form_wanted *w, struct cache_hold hold, enum cache_form *form)
{
    struct cache_view v;

    cache_look(worker.cache, hold, &v);
    *form = what_is(&v, w);
    if (*form == FORM_SERVED)
        cache_serve_form(a, hold);
    else
        cache_leave(worker.cache, hold);
    return HOOK_NEXT;
}

static bool
follow(struct cached *a)
{
    struct cache_hold next;

    if (!cache_follow(worker.cache, a->form, &next))
        return false;
    cache_leave(worker.cache, a->form);
    a->form = next;
    return true;
}

/* What has become of the one that it waits for. */
static int
look_at(struct cached *a, const struct form_wanted *w, enum cache_form *form)
{
    struct cache_hold hold;
    struct cache_view v;

    do {
        cache_look(worker.cache, a->form, &v);
        if (v.state == CACHE_FETCHING) {
            cache_wait_enlist(a);
            return HOOK_WAIT;
        }
        if (v.head != NULL && v.state != CACHE_BROKEN) {
            hold = a->form;
            a->form = (struct cache_hold){0};
            return take(a, w, hold, form);
        }
    } while (v.state == CACHE_CONTINUED && follow(a));
    return HOOK_NEXT;
}

static int
find(const struct form_wanted *w, struct cache_hold *hold)
{
    struct cache_lookup l = {.key = w->key, .n = 1};
    int result = cache_find(worker.cache, &l, hold);

    if (result != CACHE_OK)
        return result;
    if ((result = cache_verify(worker.cache, *hold)) != CACHE_OK)
        cache_leave(worker.cache, *hold);
    return result;
}

/* Somebody has to make it, or does already. */
static int
enter(struct cached *a, const struct form_wanted *w)
{
    int result = cache_enter(worker.cache, &w->key, 0, (struct cache_hold){0}, false, (uint64_t)clock_ms(), &a->form);

    if (result == CACHE_BEGUN) {
        cache_again(worker.cache, a->form);
        cache_form_make(a, w, a->form);
    }
    return result;
}

/* It is there, or comes, or there will be none. */
static int
seek(struct cached *a, const struct form_wanted *w, enum cache_form *form)
{
    int result;

    for (; a->tries < TRIES; a->tries++) {
        struct cache_hold hold;

        if ((result = find(w, &hold)) == CACHE_OK)
            return take(a, w, hold, form);
        if (result == CACHE_NONE)
            result = enter(a, w);
        if (result == CACHE_BEGUN || result == CACHE_JOINED)
            return look_at(a, w, form);
        if (result == CACHE_BUSY)
            return cache_wait_patient(a, PATIENCE_MS) ? HOOK_WAIT : HOOK_NEXT;
        if (result != CACHE_CHANGED)
            break;
    }
    return HOOK_NEXT;
}

static void
begin(struct cached *a)
{
    if (a->step == CACHED_FORMING)
        return;
    a->step = CACHED_FORMING;
    a->since_ms = 0;
    a->tries = 0;
}

/* It goes on as what is stored, where there is no form: what came of that meanwhile was not looked at. */
static void
end(struct cached *a, bool served)
{
    timer_stop(&a->timer);
    cache_form_leave(a);
    a->step = CACHED_SERVING;
    if (!served)
        cache_source.read(a->r);
}

int
cache_form(struct request *r, const struct compress_policy *conf, const struct compress_choice *choice,
           enum cache_form *form)
{
    struct cached *a = request_noted(r, &cache_module);
    struct form_wanted w;
    int result = HOOK_NEXT;

    *form = FORM_NONE;
    if (a == NULL || !is_whole(a))
        return HOOK_NEXT;
    begin(a);
    if (!a->formless && describe(&w, a, conf, choice))
        result = a->form.number != 0 ? look_at(a, &w, form) : seek(a, &w, form);
    if (result == HOOK_NEXT)
        end(a, *form == FORM_SERVED);
    return result;
}

enum cache_form
cache_form_seen(struct request *r, const struct compress_policy *conf, const struct compress_choice *choice,
                int64_t *length)
{
    const struct cached *a = request_noted(r, &cache_module);
    struct form_wanted w;
    enum cache_form form;
    struct cache_hold hold;
    struct cache_view v;

    *length = LENGTH_UNKNOWN;
    if (a == NULL || !is_whole(a) || !describe(&w, a, conf, choice) || find(&w, &hold) != CACHE_OK)
        return FORM_NONE;
    cache_look(worker.cache, hold, &v);
    form = what_is(&v, &w);
    if (form == FORM_SERVED && v.length != CACHE_LENGTH_UNKNOWN)
        *length = (int64_t)v.length;
    cache_leave(worker.cache, hold);
    return form;
}

bool
cache_form_has_news(const struct cached *a)
{
    struct cache_view v;

    if (a->form.number == 0)
        return false;           /* the store is busy, and its timer comes */
    cache_look(worker.cache, a->form, &v);
    return v.state != CACHE_FETCHING;
}

void
cache_form_leave(struct cached *a)
{
    if (a->form.number != 0)
        cache_leave(worker.cache, a->form);
    a->form = (struct cache_hold){0};
}
