/*
 * compress, as its files know each other:
 *
 *     compress.c          the policy: its keys, and its hook at EDIT
 *     compress_choose.c   what becomes of a response: is it coded anew, and how (RFC 9110 8.4, 12.5.3)
 *     compress_fields.c   what its fields have to say then
 *     recode.c            the body filter: a decoder, an encoder, or both in a row
 *     codec.c             encoders and decoders, behind one face: codec_zstd.c, codec_brotli.c, codec_gzip.c
 *     coding.c            names of codings
 *     accept_encoding.c   what a client takes
 *     cache_form.c        forms of a stored response, each made once
 */
#ifndef WEIR_COMPRESS_H
#define WEIR_COMPRESS_H

#include "modules/accept_encoding.h"
#include "modules/coding.h"
#include "worker/key.h"
#include "worker/module.h"
#include "worker/request.h"

extern const struct module compress_module;

struct compress_levels {
    int64_t of[CODINGS];        /* [CODING_IDENTITY] is of no use */
};

struct compress_policy {
    struct str_list encodings;
    struct str_list types;      /* type/subtype, type/ *, or * / *; in any case, without parameters */
    size_t min_size;
    bool breach_guard;
    struct compress_levels levels;      /* on the fly */
    struct compress_levels stored;      /* of forms that the cache keeps */
    int64_t decoded_ratio;      /* decoded bytes for each coded one, at most, once there are more than a MiB */
    size_t decoded_size;        /* bytes that one response may decode to */
    enum coding order[CODINGS]; /* `encodings`, read */
    size_t order_n;
    int line;
};

/* The policy on the request's route; NULL: none. */
const struct compress_policy *compress_policy_of(const struct request *r);

/* Before EDIT: whether the whole response would be decoded for its client, who could not read a part of it. */
bool compress_would_decode(const struct request *r);

/* --- compress_choose.c --- */

/* What becomes of a response. All zero: it goes out as it is, and says nothing of it. */
struct compress_choice {
    enum coding decode;         /* CODING_IDENTITY: its content is not coded, or stays so */
    enum coding encode;         /* CODING_IDENTITY: it is not encoded */
    bool varies;                /* another Accept-Encoding might have got another: Vary has to say so */
    bool unacceptable;          /* nothing that the client takes can be made of it: 406 */
    const char *why;            /* for weir -T: why it stays as it is; NULL: it doesn't */
};

/*
 * By the response's fields, status and length as they are at EDIT. Never: no-transform (of the response, or of the
 * request), a coding already there that the client takes, one that isn't known, 1xx, 101, 204, 205, 206, 304,
 * application/grpc, content shorter than min_size (of a known length), a type that isn't in `types`, a response that
 * bears secrets where breach_guard is on. HEAD is chosen for as GET would be. `unacceptable` only for a 2xx to GET or
 * HEAD.
 */
void compress_choose(const struct compress_policy *conf, const struct request *r, struct compress_choice *out);

/*
 * Of a 304 whose block is unfolded: whether the 200 in its place might vary. False only where its type is known, as
 * that of what is stored, and is none that is encoded.
 */
bool compress_may_vary(const struct compress_policy *conf, const struct request *r);

/* --- compress_fields.c --- */

/* Vary gets Accept-Encoding, if it hasn't it, nor "*". */
void compress_fields_vary(struct request *r);

/*
 * The fields of content that is coded otherwise than it came: Content-Encoding (CODING_IDENTITY: none), a strong ETag
 * made weak, one that is none, Content-Length, Content-MD5, Digest, Content-Digest, Repr-Digest and Accept-Ranges gone;
 * the same of its trailers once they are there. `length` of it, or LENGTH_UNKNOWN. The ETag of what answers a change
 * (PUT, DELETE; POST and PATCH without Content-Location) is not of that content, and stays.
 */
void compress_fields_recoded(struct request *r, enum coding coding, int64_t length);
void compress_fields_trailers(struct request *r);

/*
 * A 304 confirms what the client has: where it asked by a weak tag that was made of a strong one, it gets that; where
 * by both, by what it would get now (coded: a coding, if anything). Unless that is the strong one, what it has may be
 * coded otherwise than it came: nothing that is true of certain bytes is said of it (RFC 9110 15.4.5, RFC 9111 4.3.4).
 */
void compress_fields_not_modified(struct request *r, bool coded);

/* --- recode.c --- */

struct recode_plan {
    enum coding decode, encode; /* as in a choice */
    int level;                  /* of the encoder */
    int64_t length;             /* of what comes from the source, or LENGTH_UNKNOWN */
    bool live;                  /* what came is sent on before the loop sleeps, not once there is enough of it */
    int64_t ratio;              /* bounds of what is decoded, as in the policy */
    uint64_t size;
};

/* The plan for that choice on the fly, or (stored) for a form that the cache keeps. */
void recode_plan(struct recode_plan *plan, const struct compress_policy *conf, const struct request *r,
                 const struct compress_choice *choice, bool stored);

/* The filter begins. False: no memory for a codec, and nothing was done. Counted for the route. */
bool recode_begin(struct request *r, const struct recode_plan *plan);

/* Bytes that went through it so far: into the encoder (of a decoder alone: that came out), and out of it. */
void recode_passed(const struct request *r, uint64_t *in, uint64_t *out);

/* --- cache_form.c --- */

enum cache_form {
    FORM_NONE,                  /* the response is not one whole one from the store, or none can be kept: on the fly */
    FORM_SERVED,                /* the response's content is the form now; r->response.length is its, if known */
    FORM_POINTLESS,             /* it is known to be no smaller: the response stays as it is */
};

/*
 * EDIT: the response in the form that was chosen, from the store, if that is where the response comes from. Each form
 * of each stored content is made once, by whoever wants it first over all workers, at the policy's `stored` level;
 * all others wait for its head and read along. HOOK_NEXT with *form, or HOOK_WAIT.
 */
int cache_form(struct request *r, const struct compress_policy *conf, const struct compress_choice *choice,
               enum cache_form *form);

/*
 * EDIT, to HEAD: what there is of that form already; nothing is made, and nothing waited for. *length: of its content,
 * or LENGTH_UNKNOWN.
 */
enum cache_form cache_form_seen(struct request *r, const struct compress_policy *conf,
                                const struct compress_choice *choice, int64_t *length);

#endif
