/*
 * The body filter of compress: content goes through a decoder, an encoder, or both in a row, from r->inflow to
 * r->response.body. It alone knows what a codec is told when: to go on, to let go of what it keeps back, to end.
 *
 * CPU is shared: what is done within one turn of the loop is a budget of bytes, in or out, whichever is more; who has
 * used it up goes on in the next turn. And all of them together have so much time in a turn, so that hundreds, which
 * one client can bring about, don't keep the loop from everybody else: who comes too late queues up for the next one.
 * A live response's codec is flushed at the end of each turn in which its source had something and then no more, so
 * that bytes that came together are coded together, and none waits for the next.
 *
 * Invariants: whoever has worked in this turn, or may not in it, is in the queue, and the budget is full again once its
 * turn has come; a codec goes back to the pool as soon as its end is out, though the client may take minutes.
 */
#include "modules/codec.h"
#include "modules/compress.h"
#include "worker/base/clock.h"
#include "worker/base/loop.h"
#include "worker/count.h"
#include "worker/filter.h"
#include "worker/upstream/exchange.h"

#define MIDDLE_MOST FILTER_TURN /* between a decoder and an encoder: who empties a full one comes again for the rest */
#define PIECE_MOST ((size_t)16 * 1024)          /* of output at once */
#define RATIO_FREE ((uint64_t)1024 * 1024)      /* decoded bytes before the ratio counts */
#define TURN_NS ((int64_t)5000000)              /* of all in a turn: for what came in it, and again for the queue */

struct recode {
    struct request *r;
    struct recode_plan plan;
    struct codec *decoder, *encoder;    /* NULL: none, or it has ended */
    struct flow middle;
    size_t budget;
    uint64_t eaten;             /* of r->inflow */
    uint64_t decoded;
    uint64_t in, out;           /* of the encoder; of a decoder alone both are what it made */
    bool unflushed;             /* the encoder may keep something back */
    bool flushing;              /* it is letting go of that */
    struct recode *next, **link;        /* in the queue; link NULL: it isn't */
};

/* --- the queue --- */

static struct recode *queue, **queue_end = &queue;
static size_t queue_n;
static int64_t spent_ns;        /* by all, since those in the queue had their turn */

static void take_turns(struct task *t);

static struct task turns = {.run = take_turns};

static void
enqueue(struct recode *c)
{
    if (c->link != NULL)
        return;
    c->next = NULL;
    c->link = queue_end;
    *queue_end = c;
    queue_end = &c->next;
    queue_n++;
    loop_post(&turns);
}

static void
dequeue(struct recode *c)
{
    if (c->link == NULL)
        return;
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    else
        queue_end = c->link;
    c->link = NULL;
    queue_n--;
}

/* --- the codecs --- */

static struct flow *
decoded_into(struct recode *c)
{
    return c->plan.encode != CODING_IDENTITY ? &c->middle : &c->r->response.body;
}

static void
fail(struct recode *c)
{
    c->r->response.body.broken = true;
    count_coding_error(c->r);
}

/*
 * One step of a codec, with a piece of room, and of input where that is to go in: a codec that is told to let go of
 * what it has, or to end, gets nothing more until it has done so. *in, *out: how much went in and came out.
 */
static enum codec_result
step(struct recode *c, struct codec *codec, struct flow *from, struct flow *to, enum codec_op op, size_t *in,
     size_t *out)
{
    struct iovec iov = {0};
    struct codec_io io = {0};
    enum codec_result result;
    size_t room = flow_room(to), most = room < PIECE_MOST ? room : PIECE_MOST;
    char *space;

    *in = *out = 0;
    if (room == 0)
        return CODEC_FULL;
    if (op == CODEC_GO && from->bytes > 0)
        flow_iov(from, &iov, 1, c->budget);
    space = flow_space(to, most, &io.out_n);
    io.out = space;
    io.in = iov.iov_base;
    io.in_n = iov.iov_len;
    result = codec_run(codec, &io, op);
    *in = iov.iov_len - io.in_n;
    *out = (size_t)(io.out - space);
    flow_added(to, *out);
    flow_eat(from, *in);
    c->budget -= *in > *out ? (*in < c->budget ? *in : c->budget) : *out < c->budget ? *out : c->budget;
    return result;
}

/* Puts the codec back: its end is out. */
static void
end_codec(struct codec **codec, struct flow *to)
{
    codec_put(*codec);
    *codec = NULL;
    to->ended = true;
}

/* Whether what the source has is wrong; who sent it is told of then. */
static bool
is_wrong(const struct recode *c, enum codec_result result)
{
    struct request *r = c->r;

    if (result == CODEC_ERROR)
        trouble_content(r, CONTENT_MALFORMED, arena_printf(r->arena, "its content cannot be decoded as %.*s",
                                                           STR_ARG(coding_name(c->plan.decode))).p);
    else if (c->decoded > c->plan.size)
        trouble_content(r, CONTENT_TOO_LARGE, "its content decodes to more than compress.decoded_size");
    else if (c->decoded > RATIO_FREE && c->decoded / (uint64_t)c->plan.ratio > c->eaten)
        trouble_content(r, CONTENT_BOMB, "its content decodes to more than compress.decoded_ratio times its length");
    else
        return false;
    return true;
}

static void
decode(struct recode *c)
{
    struct flow *from = c->r->inflow, *to = decoded_into(c);

    while (c->decoder != NULL && c->budget > 0) {
        enum codec_op op = from->bytes == 0 && from->ended ? CODEC_END : CODEC_GO;
        size_t in, out;
        enum codec_result result = step(c, c->decoder, from, to, op, &in, &out);

        c->eaten += in;
        c->decoded += out;
        if (result == CODEC_ERROR && codec_is_starved(c->decoder)) {
            c->r->response.body.broken = true;      /* what others have made decoders take is not this server's fault */
            count_coding_refused(c->r);
            return;
        }
        if (is_wrong(c, result)) {
            fail(c);
            return;
        }
        if (result == CODEC_DONE && op == CODEC_END)
            end_codec(&c->decoder, to);
        else if (in == 0 && out == 0)
            break;              /* there is no more, or no room */
    }
}

/* What the encoder is told next: CODEC_GO with nothing to go on with means that there is nothing to do. */
static enum codec_op
next_op(const struct recode *c, const struct flow *from)
{
    if (c->flushing)
        return CODEC_FLUSH;
    return from->bytes == 0 && from->ended ? CODEC_END : CODEC_GO;
}

static void
encode(struct recode *c)
{
    struct flow *from = c->plan.decode != CODING_IDENTITY ? &c->middle : c->r->inflow, *to = &c->r->response.body;

    while (c->encoder != NULL && c->budget > 0) {
        enum codec_op op = next_op(c, from);
        enum codec_result result;
        size_t in, out;

        if (op == CODEC_GO && from->bytes == 0)
            break;
        result = step(c, c->encoder, from, to, op, &in, &out);
        c->in += in;
        c->out += out;
        c->unflushed = c->unflushed || in > 0;
        if (result == CODEC_ERROR) {
            fail(c);
            return;
        }
        if (op == CODEC_FLUSH && result == CODEC_WANTS)
            c->unflushed = c->flushing = false;     /* though nothing came of it: there may be more to go on with */
        else if (op == CODEC_END && result == CODEC_DONE)
            end_codec(&c->encoder, to);
        else if (in == 0 && out == 0)
            break;              /* the client has to take something first */
    }
}

/* The source broke off: what came before that is through. */
static bool
is_cut(const struct recode *c)
{
    return c->r->inflow->broken && c->r->inflow->bytes == 0 && c->middle.bytes == 0;
}

static void
work(struct recode *c)
{
    struct flow *body = &c->r->response.body;

    if (body->ended || body->broken)
        return;
    if (c->plan.decode != CODING_IDENTITY)
        decode(c);
    if (c->plan.encode != CODING_IDENTITY && !body->broken)
        encode(c);
    if (is_cut(c))
        body->broken = true;
    if (c->plan.encode == CODING_IDENTITY)
        c->in = c->out = c->decoded;
    if (body->ended)
        compress_fields_trailers(c->r);
}

static void
run(struct request *r)
{
    struct recode *c = r->filter_state;

    if (spent_ns >= TURN_NS)
        c->budget = 0;
    if (c->budget > 0) {
        int64_t began = clock_exact_ns();

        work(c);
        spent_ns += clock_exact_ns() - began;
    }
    enqueue(c);
}

/* Whether it could go on at once, had it the budget. */
static bool
is_pressed(const struct recode *c)
{
    const struct flow *body = &c->r->response.body;

    return c->budget == 0 && !body->ended && !body->broken;
}

/*
 * A live source has no more at this moment, and the encoder keeps something back. Not where that was all: an encoder
 * that has begun to end must not be told to let go any more.
 */
static bool
is_dry(const struct recode *c)
{
    const struct flow *from = c->plan.decode != CODING_IDENTITY ? &c->middle : c->r->inflow;

    return c->plan.live && c->unflushed && !c->flushing && c->encoder != NULL && c->r->inflow->bytes == 0 &&
           c->middle.bytes == 0 && !from->ended;
}

static void
go_on(struct recode *c)
{
    bool pressed = is_pressed(c), dry = !pressed && is_dry(c);     /* a decoder that is pressed may have more */

    c->budget = FILTER_TURN;
    if (!pressed && !dry)
        return;
    c->flushing = c->flushing || dry;
    filter_go_on(c->r);
    if (!c->r->finished && !is_pressed(c) && !is_dry(c)) {
        dequeue(c);
        c->budget = FILTER_TURN;
    }
}

/* Each once at most, as far as the time goes: the others are the first in the next turn. */
static void
take_turns(struct task *t)
{
    spent_ns = 0;
    for (size_t n = queue_n; n > 0 && queue != NULL && spent_ns < TURN_NS; n--) {
        struct recode *c = queue;

        dequeue(c);
        go_on(c);
    }
    spent_ns = 0;
    if (queue != NULL)
        loop_post(t);
}

static void
stop(struct request *r)
{
    struct recode *c = r->filter_state;

    dequeue(c);
    codec_put(c->decoder);
    codec_put(c->encoder);
    c->decoder = c->encoder = NULL;
    flow_clear(&c->middle);
    if (c->plan.encode != CODING_IDENTITY)
        count_encoded_bytes(r, c->in, c->out);
}

static const struct filter recode_filter = {.name = "recode", .run = run, .stop = stop};

/* --- its beginning --- */

void
recode_plan(struct recode_plan *plan, const struct compress_policy *conf, const struct request *r,
            const struct compress_choice *choice, bool stored)
{
    const struct compress_levels *levels = stored ? &conf->stored : &conf->levels;

    *plan = (struct recode_plan){
        .decode = choice->decode, .encode = choice->encode, .level = (int)levels->of[choice->encode],
        .length = r->response.length, .live = r->response.length == LENGTH_UNKNOWN, .ratio = conf->decoded_ratio,
        .size = conf->decoded_size,
    };
}

bool
recode_begin(struct request *r, const struct recode_plan *plan)
{
    struct codec *decoder = NULL, *encoder = NULL;
    int64_t length = plan->decode == CODING_IDENTITY ? plan->length : LENGTH_UNKNOWN;
    struct recode *c;

    if (plan->decode != CODING_IDENTITY && (decoder = codec_decoder(plan->decode)) == NULL)
        return false;
    if (plan->encode != CODING_IDENTITY && (encoder = codec_encoder(plan->encode, plan->level, length)) == NULL) {
        codec_put(decoder);
        return false;
    }
    c = arena_zalloc(r->arena, sizeof(*c));
    *c = (struct recode){.r = r, .plan = *plan, .decoder = decoder, .encoder = encoder, .budget = FILTER_TURN};
    flow_init(&c->middle, MIDDLE_MOST);
    if (decoder != NULL)
        count_decoding(r, plan->decode - CODING_ZSTD + SLOTS_ZSTD);
    if (encoder != NULL)
        count_encoding(r, plan->encode - CODING_ZSTD + SLOTS_ZSTD);
    filter_begin(r, &recode_filter, c);
    return true;
}

void
recode_passed(const struct request *r, uint64_t *in, uint64_t *out)
{
    const struct recode *c = r->filter_state;

    *in = c->in;
    *out = c->out;
}
