/*
 * The pool of codecs and the account of their memory. What it alone knows: which states rest, in the order of their
 * last use, and how many bytes all states have. A codec is counted from the moment it has a byte until it has none,
 * and its count changes in recount() only.
 *
 * The bound is kept where something begins: an encoder that would pass it isn't made. A decoder grows by what its
 * peer says (a zstd frame names its window), so it is held to the bound in each step, and all decoders together to
 * half of it: origins can't take the encoders' part. Nor can clients, who keep encoders by reading slowly, take the
 * decoders': without an encoder a response goes out as it is, without a decoder it fails. libzstd takes memory without
 * asking; what it took too much is given back at once.
 *
 * The pool is kept under AddressSanitizer too: that a state is as new after whatever it was fed before, is what tests
 * of it have to see.
 */
#include "modules/codec.h"

#include <stdio.h>
#include <stdlib.h>

#include "modules/codec_parts.h"
#include "worker/base/arena.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"

#define DECODERS_MOST (CODEC_MEMORY_MOST / 2)
#define ENCODERS_MOST (CODEC_MEMORY_MOST / 4 * 3)
#define IDLE_MOST 128           /* states */
#define IDLE_MEMORY_MOST (CODEC_MEMORY_MOST / 4)
#define IDLE_MS 60000
#define COMPLAIN_MS 60000
#define DECODER_BLOCK_KEPT ((size_t)1024 * 1024)        /* larger ones are of large content: what is malloc to that */

/* The header keeps what follows aligned for anything. */
struct codec_block {
    _Alignas(max_align_t) struct codec_block *next;
    size_t size;                /* behind it */
    bool used;                  /* since the codec was had */
};

static struct codec *idle;      /* the youngest first */
static unsigned idle_n;
static size_t idle_memory;
static size_t memory, decoders_memory;

static const struct codec_kind *const encoders[CODINGS] = {
    [CODING_ZSTD] = &codec_zstd_encoder, [CODING_BR] = &codec_brotli_encoder, [CODING_GZIP] = &codec_gzip_encoder,
};
static const struct codec_kind *const decoders[CODINGS] = {
    [CODING_ZSTD] = &codec_zstd_decoder, [CODING_BR] = &codec_brotli_decoder, [CODING_GZIP] = &codec_gzip_decoder,
};

/* --- the account --- */

static void
recount(struct codec *c)
{
    size_t has = c->blocks + c->outside, counted = has > c->claim ? has : c->claim;

    memory += counted - c->counted;
    if (c->kind->decodes)
        decoders_memory += counted - c->counted;
    c->counted = counted;
}

/* All that it keeps, or only what this life of it had no use for: another's would find no use for it either. */
static void
drop_kept(struct codec *c, bool all)
{
    struct codec_block **at = &c->kept, *b;

    while ((b = *at) != NULL) {
        if (b->used && !all) {
            b->used = false;
            at = &b->next;
            continue;
        }
        *at = b->next;
        c->blocks -= b->size;
        free(b);
    }
    recount(c);
}

static void
destroy(struct codec *c)
{
    c->kind->end(c);
    c->state = NULL;
    c->outside = c->claim = 0;
    drop_kept(c, true);
    check(c->counted == 0);
}

static struct codec *
unlink_idle(struct codec **at)
{
    struct codec *c = *at;

    *at = c->next;
    c->next = NULL;
    idle_n--;
    idle_memory -= c->counted;
    return c;
}

/* The one that has rested longest, of the decoders, of the encoders or of both. False: there is none. */
static bool
free_oldest(bool decoder, bool encoder)
{
    struct codec **oldest = NULL, *c;

    for (struct codec **at = &idle; *at != NULL; at = &(*at)->next)
        if ((*at)->kind->decodes ? decoder : encoder)
            oldest = at;
    if (oldest == NULL)
        return false;
    c = unlink_idle(oldest);
    destroy(c);
    free(c);
    return true;
}

/* Room for n more, if need be by freeing what rests. */
static bool
make_room(bool decoder, size_t n)
{
    if (n > (decoder ? DECODERS_MOST : ENCODERS_MOST))
        return false;
    while (decoder ? decoders_memory > DECODERS_MOST - n : memory - decoders_memory > ENCODERS_MOST - n)
        if (!free_oldest(decoder, !decoder))
            return false;
    while (memory > CODEC_MEMORY_MOST - n)
        if (!free_oldest(true, true))
            return false;
    return true;
}

/* Clients and servers can bring this about. */
static void
complain(bool decoder)
{
    static struct log_pace pace[2];
    unsigned long more;
    char times[64] = "";

    if (!log_due(&pace[decoder], clock_ms(), COMPLAIN_MS, &more))
        return;
    if (more > 0)
        snprintf(times, sizeof(times), " (and %lu more like this)", more);
    log_warning("compress: the %zu MiB that a worker has %s%s",
                (decoder ? DECODERS_MOST : ENCODERS_MOST) >> 20,
                decoder ? "to decode with are in use: responses that have to be decoded fail"
                        : "to encode with are in use: responses go out as they are", times);
}

void
codec_outside(struct codec *c, size_t n)
{
    c->outside = n;
    recount(c);
}

void
codec_claim(struct codec *c, size_t n)
{
    c->claim = n;
    recount(c);
}

/* The smallest that is not too large by half. */
static struct codec_block *
take_kept(struct codec *c, size_t n)
{
    struct codec_block **best = NULL, *b;

    for (struct codec_block **at = &c->kept; *at != NULL; at = &(*at)->next)
        if ((*at)->size >= n && (*at)->size - n <= n / 2 && (best == NULL || (*at)->size < (*best)->size))
            best = at;
    if (best == NULL)
        return NULL;
    b = *best;
    *best = b->next;
    b->used = true;
    return b;
}

void *
codec_alloc(void *opaque, size_t n)
{
    struct codec *c = opaque;
    struct codec_block *b = take_kept(c, n);

    if (b != NULL)
        return b + 1;
    if (n > SIZE_MAX - sizeof(*b) || (c->kind->decodes && !make_room(true, n))) {
        c->starved = true;
        return NULL;
    }
    b = malloc(sizeof(*b) + n);
    if (b == NULL)
        return NULL;
    *b = (struct codec_block){.size = n, .used = true};
    c->blocks += n;
    recount(c);
    return b + 1;
}

void
codec_free(void *opaque, void *p)
{
    struct codec *c = opaque;
    struct codec_block *b = p;

    if (p == NULL)
        return;
    b--;
    if (c->kind->decodes && b->size > DECODER_BLOCK_KEPT) {
        c->blocks -= b->size;
        recount(c);
        free(b);
        return;
    }
    b->next = c->kept;
    c->kept = b;
}

size_t
codec_memory(void)
{
    return memory;
}

/* --- the pool --- */

/* Content of a known length needs no more of a window than itself. Few sizes, so that states are used again. */
static int
window_for(int64_t length)
{
    if (length < 0 || length > 32 * 1024)
        return CODEC_WINDOW_LOG;
    return length > 4 * 1024 ? 15 : 12;
}

static struct codec *
take_idle(const struct codec_kind *kind, int level, int window)
{
    for (struct codec **at = &idle; *at != NULL; at = &(*at)->next)
        if ((*at)->kind == kind && (*at)->level == level && (*at)->window == window)
            return unlink_idle(at);
    return NULL;
}

static struct codec *
get(const struct codec_kind *kind, int level, int window)
{
    struct codec *c = take_idle(kind, level, window);

    if (c == NULL) {
        c = xcalloc(1, sizeof(*c));
        *c = (struct codec){.kind = kind, .level = level, .window = window};
    }
    c->final = CODEC_WANTS;
    c->starved = false;
    c->used = true;
    if (c->kind->begin(c) && make_room(kind->decodes, 0))
        return c;
    complain(kind->decodes);
    destroy(c);
    free(c);
    return NULL;
}

struct codec *
codec_encoder(enum coding coding, int level, int64_t length)
{
    static const int most[CODINGS] = {
        [CODING_ZSTD] = CODEC_ZSTD_MOST, [CODING_BR] = CODEC_BR_MOST, [CODING_GZIP] = CODEC_GZIP_MOST,
    };

    check(coding < CODINGS && encoders[coding] != NULL);
    check(level >= (coding == CODING_BR ? 0 : 1) && level <= most[coding]);
    return get(encoders[coding], level, window_for(length));
}

struct codec *
codec_decoder(enum coding coding)
{
    check(coding < CODINGS && decoders[coding] != NULL);
    return get(decoders[coding], 0, 0);
}

/* A decoder's memory is what its peer made of it: nobody keeps that for the sake of an error. */
enum codec_result
codec_run(struct codec *c, struct codec_io *io, enum codec_op op)
{
    static char nowhere;
    enum codec_result result;

    check(c->used);
    if (c->final != CODEC_WANTS)
        return c->final;
    if (io->in == NULL)
        io->in = &nowhere;
    if (io->out == NULL)
        io->out = &nowhere;
    result = c->kind->run(c, io, op);
    c->starved = c->starved || (c->kind->decodes && !make_room(true, 0));
    if (c->starved) {
        complain(c->kind->decodes);
        result = CODEC_ERROR;
    }
    if (result == CODEC_DONE || result == CODEC_ERROR)
        c->final = result;
    if (result == CODEC_ERROR)
        destroy(c);
    return result;
}

bool
codec_is_starved(const struct codec *c)
{
    return c->starved;
}

void
codec_put(struct codec *c)
{
    if (c == NULL)
        return;
    check(c->used);
    if (c->final == CODEC_ERROR) {
        free(c);
        return;
    }
    c->used = false;
    if (c->kind->rest != NULL)
        c->kind->rest(c);
    c->claim = 0;
    drop_kept(c, false);
    c->rested_ms = clock_ms();
    c->next = idle;
    idle = c;
    idle_n++;
    idle_memory += c->counted;
    while (idle_n > IDLE_MOST || idle_memory > IDLE_MEMORY_MOST)
        free_oldest(true, true);
}

/* From the first that has rested for so long, all have. */
static void
free_rested_since(int64_t ms)
{
    struct codec **at = &idle;

    while (*at != NULL && (*at)->rested_ms > ms)
        at = &(*at)->next;
    while (*at != NULL) {
        struct codec *c = unlink_idle(at);

        destroy(c);
        free(c);
    }
}

void
codec_tick(void)
{
    free_rested_since(clock_ms() - IDLE_MS);
}

void
codec_flush(void)
{
    free_rested_since(INT64_MAX);
}
