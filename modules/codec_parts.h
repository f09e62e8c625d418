/*
 * How codec.c knows the three libraries: a table for each one's encoder and for its decoder. Theirs alone:
 *
 *     codec.c             the pool, the bound of memory, the face of codec.h
 *     codec_zstd.c        libzstd
 *     codec_brotli.c      libbrotlienc, libbrotlidec
 *     codec_gzip.c        zlib
 */
#ifndef WEIR_CODEC_PARTS_H
#define WEIR_CODEC_PARTS_H

#include "modules/codec.h"

struct codec_kind {
    enum coding coding;
    bool decodes;

    /* The state, made or as if it were new, for c->level and c->window: false: no memory. */
    bool (*begin)(struct codec *c);

    /* As codec_run, where the result isn't final yet; io's pointers are never NULL. After an error comes `end`. */
    enum codec_result (*run)(struct codec *c, struct codec_io *io, enum codec_op op);

    /* It goes to the pool. NULL: nothing to do. */
    void (*rest)(struct codec *c);

    /* The state is freed, if there is one. */
    void (*end)(struct codec *c);
};

extern const struct codec_kind codec_zstd_encoder, codec_zstd_decoder;
extern const struct codec_kind codec_brotli_encoder, codec_brotli_decoder;
extern const struct codec_kind codec_gzip_encoder, codec_gzip_decoder;

struct codec_block;

struct codec {
    const struct codec_kind *kind;
    void *state;                /* the kind's */
    int level;                  /* of an encoder, as `window`: how far it looks back, as a power of two */
    int window;
    size_t blocks;              /* bytes by codec_alloc, kept ones too */
    size_t outside;             /* bytes that the library took by itself */
    size_t claim;               /* bytes that it will come to have */
    size_t counted;             /* of these three in codec_memory() */
    struct codec_block *kept;
    enum codec_result final;    /* CODEC_DONE or CODEC_ERROR, once it is one of them */
    bool starved;               /* it was refused memory */
    bool used;                  /* not in the pool */
    int64_t rested_ms;
    struct codec *next;         /* in the pool */
};

/*
 * Memory of a state, as libraries ask for it: opaque is the codec. What is freed is kept by the codec, for its next
 * life. NULL: the system has none, or the codec is a decoder and the bound is reached.
 */
void *codec_alloc(void *opaque, size_t n);
void codec_free(void *opaque, void *p);

/* What its library took by itself, whenever that may have changed: codec.c looks at it after `begin` and `run`. */
void codec_outside(struct codec *c, size_t n);

/* An encoder's state will need so much when it has seen content: counted from now on, until it rests. */
void codec_claim(struct codec *c, size_t n);

#endif
