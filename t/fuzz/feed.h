/*
 * What the fuzz targets of both directions share: a message is read twice, once from one piece and
 * once in pieces whose sizes come from the input, each in memory that ends where it does. Both must
 * come to the same.
 *
 * The first four bytes of an input choose: limits, scan level, and two seeds for the sizes of pieces.
 */
#ifndef WEIR_FEED_H
#define WEIR_FEED_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "t/fuzz/must.h"
#include "worker/base/scan.h"
#include "worker/h1/chunked.h"
#include "worker/h1/parse.h"

#define CHOICES 4

struct message {
    struct arena *arena;
    struct fields fields, trailers;
    struct h1_head head;
    struct h1_chunked chunked;
    char *buf;                  /* the head so far */
    size_t buffered;
    int got;                    /* of the head */
    enum h1_chunk chunk;        /* of the content, where it is chunked */
    char *content;
    size_t content_size;
    size_t taken;               /* of the bytes behind the head */
};

struct choices {
    const struct h1_limits *limits;
    uint32_t pieces;
};

static inline struct choices
choose(const uint8_t *data)
{
    static const struct h1_limits limits[] = {
        {8192, 8192, 32768, 100}, {20, 16, 40, 4}, {64, 64, 64, 2}, {16, 8192, 50, 100},
    };

    scan_init(data[1] % 3);
    return (struct choices){&limits[data[0] % 4], (uint32_t)data[2] << 8 | data[3] | 1};
}

/* One to 16 bytes, now and then many. */
static inline size_t
next_piece(uint32_t *seed, size_t left)
{
    size_t n;

    *seed = *seed * 1664525 + 1013904223;
    n = (*seed >> 28) + 1;
    if ((*seed >> 20 & 15) == 0)
        n *= 64;
    return n < left ? n : left;
}

static inline char *
copy(const char *p, size_t n)
{
    char *to = malloc(n > 0 ? n : 1);

    if (n > 0)
        memcpy(to, p, n);
    return to;
}

static inline void
message_begin(struct message *m, const struct h1_limits *limits, size_t most)
{
    *m = (struct message){.arena = arena_new(), .buf = malloc(1), .content = malloc(most + 1)};
    fields_init(&m->fields, m->arena);
    fields_init(&m->trailers, m->arena);
    h1_head_init(&m->head, &m->fields, limits);
    h1_chunked_init(&m->chunked, &m->trailers, limits);
}

static inline void
message_end(struct message *m)
{
    arena_free(m->arena);
    free(m->buf);
    free(m->content);
}

static inline void
feed_content(struct message *m, const char *p, size_t n)
{
    char *piece = copy(p, n);
    struct str in = {piece, n}, data;

    if (m->chunk == H1_CHUNK_DATA)
        m->chunk = H1_CHUNK_MORE;
    while (in.n > 0 && m->chunk == H1_CHUNK_MORE) {
        m->chunk = h1_chunked_next(&m->chunked, &in, &data);
        MUST(m->chunk != H1_CHUNK_MORE || in.n == 0);
        if (m->chunk != H1_CHUNK_DATA)
            continue;
        MUST(data.n > 0 && data.p + data.n == in.p);
        memcpy(m->content + m->content_size, data.p, data.n);
        m->content_size += data.n;
        m->chunk = H1_CHUNK_MORE;
    }
    m->taken += n - in.n;
    free(piece);
}

/* The message is [p, p + to), of which [0, from) was fed before. */
static inline void
feed(struct message *m, int (*parse)(struct h1_head *, const char *, size_t), const char *p,
     size_t from, size_t to)
{
    if (m->got == H1_MORE) {
        char *moved = copy(p, to);

        h1_head_moved(&m->head, m->buf, m->buffered, moved);
        free(m->buf);
        m->buf = moved;
        m->buffered = to;
        m->got = parse(&m->head, moved, to);
        from = m->head.size;
    }
    if (m->got != H1_DONE)
        return;
    MUST(m->head.size > 0 && m->head.size <= to);
    if (m->head.framing == H1_CHUNKED)
        feed_content(m, p + from, to - from);
}

static inline void
same_fields(const struct fields *a, const struct fields *b)
{
    MUST(a->n == b->n && a->seen == b->seen);
    for (size_t i = 0; i < a->n; i++) {
        MUST(str_eq(a->v[i].name, b->v[i].name));
        MUST(str_eq(a->v[i].value, b->v[i].value));
        MUST(a->v[i].id == b->v[i].id && a->v[i].gone == b->v[i].gone);
    }
}

static inline void
same_message(const struct message *a, const struct message *b)
{
    MUST(a->got == b->got);
    same_fields(&a->fields, &b->fields);
    if (a->got != H1_DONE)
        return;
    MUST(str_eq(a->head.method, b->head.method));
    MUST(str_eq(a->head.target, b->head.target));
    MUST(str_eq(a->head.reason, b->head.reason));
    MUST(a->head.status == b->head.status && a->head.minor == b->head.minor);
    MUST(a->head.size == b->head.size && a->head.framing == b->head.framing);
    MUST(a->head.content_length == b->head.content_length);
    MUST(a->head.host_seen == b->head.host_seen && a->head.keep_alive == b->head.keep_alive);
    MUST(a->chunk == b->chunk);
    /* a refused piece may be left wherever it was */
    if (a->chunk == H1_CHUNK_MORE || a->chunk == H1_CHUNK_END)
        MUST(a->taken == b->taken);
    MUST(a->content_size == b->content_size);
    MUST(memcmp(a->content, b->content, a->content_size) == 0);
    same_fields(&a->trailers, &b->trailers);
}

/* Nothing that would be a second line, or no field at all, once it is written again. */
static inline void
sound_fields(const struct fields *f)
{
    for (size_t i = 0; i < f->n; i++) {
        MUST(field_is_token(f->v[i].name) && field_is_value(f->v[i].value));
        MUST(f->v[i].value.p != NULL && str_eq(str_trim(f->v[i].value), f->v[i].value));
        MUST(f->v[i].id == field_id(f->v[i].name));
    }
}

/* How the message ends is what its fields say, read a second time. */
static inline void
sound_framing(const struct message *m)
{
    struct str length = fields_value(&m->fields, FIELD_CONTENT_LENGTH);
    struct str coding = fields_value(&m->fields, FIELD_TRANSFER_ENCODING);

    MUST(length.p == NULL || coding.p == NULL);
    MUST((m->head.framing == H1_LENGTH) == (length.p != NULL));
    MUST((m->head.framing == H1_CHUNKED) == (coding.p != NULL));
    if (length.p != NULL)
        MUST(m->head.content_length >= 0 && m->head.content_length == str_decimal(length));
    if (coding.p != NULL)
        MUST(str_ieq(coding, STR("chunked")) && m->head.minor == 1);
}

/* Reads the message both ways and compares; `whole` is what is left to look at, and to end. */
static inline void
read_both_ways(struct message *whole, struct choices c,
               int (*parse)(struct h1_head *, const char *, size_t), const char *p, size_t n)
{
    struct message split;

    message_begin(whole, c.limits, n);
    feed(whole, parse, p, 0, n);
    message_begin(&split, c.limits, n);
    for (size_t at = 0; at < n;) {
        size_t piece = next_piece(&c.pieces, n - at);

        feed(&split, parse, p, at, at + piece);
        at += piece;
    }
    if (n > 0)
        same_message(whole, &split);
    message_end(&split);
    if (whole->got == H1_DONE) {
        sound_fields(&whole->fields);
        sound_fields(&whole->trailers);
        sound_framing(whole);
    }
}

#endif
