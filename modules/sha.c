/*
 * The one place that knows whose SHA-256 it is: OpenSSL's, by the functions of the algorithm itself, with the context
 * on the stack. They are deprecated in favour of EVP, which before OpenSSL 3.1 allocates a context for each digest
 * even where one is used again; here nothing is allocated per request.
 *
 * What is asked for is mostly what was just asked for: a popular URL, a tag, a Vary. So the digests of the last short
 * inputs are remembered beside the inputs themselves, and found by them to the last byte: nothing can make them wrong.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "modules/sha.h"

#include <openssl/sha.h>
#include <stdint.h>
#include <string.h>

#include "worker/base/log.h"

#define BUFFER 512              /* longer parts go in by themselves */
#define KNOWN_MOST 224          /* bytes of an input that is remembered */
#define KNOWN_BITS 7

/* What is digested next: small parts are put together. */
struct input {
    SHA256_CTX context;
    size_t n;
    uint8_t bytes[BUFFER];
};

static void
flush(struct input *in)
{
    check(SHA256_Update(&in->context, in->bytes, in->n) == 1);
    in->n = 0;
}

static void
put(struct input *in, const void *p, size_t n)
{
    if (n > BUFFER - in->n)
        flush(in);
    if (n > BUFFER) {
        check(SHA256_Update(&in->context, p, n) == 1);
        return;
    }
    if (n > 0)
        memcpy(in->bytes + in->n, p, n);
    in->n += n;
}

/* In the order of bytes that every machine reads alike. */
static void
put_number(struct input *in, uint32_t number)
{
    uint8_t bytes[] = {(uint8_t)number, (uint8_t)(number >> 8), (uint8_t)(number >> 16), (uint8_t)(number >> 24)};

    put(in, bytes, sizeof(bytes));
}

static uint64_t
get_number(const uint8_t *bytes)
{
    uint64_t number = 0;

    for (size_t i = 0; i < 8; i++)
        number |= (uint64_t)bytes[i] << 8 * i;
    return number;
}

static struct cache_key
finish(struct input *in)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];

    flush(in);
    check(SHA256_Final(digest, &in->context) == 1);
    return (struct cache_key){{get_number(digest), get_number(digest + 8)}};
}

static void
begin(struct input *in)
{
    in->n = 0;
    check(SHA256_Init(&in->context) == 1);
}

/* --- of an input of any length --- */

static struct cache_key
digest(const struct str *parts, size_t n)
{
    struct input in;

    begin(&in);
    put_number(&in, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        put_number(&in, (uint32_t)parts[i].n);
        put(&in, parts[i].p, parts[i].n);
    }
    return finish(&in);
}

/* --- of one that is remembered --- */

struct known {
    struct cache_key key;
    uint32_t n;                 /* 0: none */
    uint8_t bytes[KNOWN_MOST];
};

static struct known known[1 << KNOWN_BITS];

/* Where it is remembered. Inputs that share a place, by chance or a client's will, only make each other forgotten. */
static struct known *
place(const uint8_t *bytes, size_t n)
{
    uint64_t mixed = n, word;

    for (size_t i = 0; i < n; i += 8) {
        memcpy(&word, bytes + i, 8);
        mixed = (mixed ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        mixed ^= mixed >> 32;
    }
    return &known[mixed * UINT64_C(0x9E3779B97F4A7C15) >> (64 - KNOWN_BITS)];
}

static struct cache_key
recall(const uint8_t *bytes, size_t n)
{
    struct known *k = place(bytes, n);
    struct input in;

    if (k->n == n && memcmp(k->bytes, bytes, n) == 0)
        return k->key;
    begin(&in);
    put(&in, bytes, n);
    k->key = finish(&in);
    k->n = (uint32_t)n;
    memcpy(k->bytes, bytes, n);
    return k->key;
}

static uint8_t *
append_number(uint8_t *to, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        *to++ = (uint8_t)(number >> 8 * i);
    return to;
}

/* Of parts that are no longer than KNOWN_MOST together. */
static struct cache_key
known_digest(const struct str *parts, size_t n)
{
    uint8_t bytes[KNOWN_MOST + 8], *at = append_number(bytes, (uint32_t)n);

    for (size_t i = 0; i < n; i++) {
        at = append_number(at, (uint32_t)parts[i].n);
        if (parts[i].n > 0)
            at = mempcpy(at, parts[i].p, parts[i].n);
    }
    memset(at, 0, 8);           /* it is read by eights */
    return recall(bytes, (size_t)(at - bytes));
}

struct cache_key
sha_key(const struct str *parts, size_t n)
{
    size_t size = 4;

    for (size_t i = 0; i < n; i++) {
        check(parts[i].n <= UINT32_MAX);
        size += 4 + parts[i].n;
    }
    return size <= KNOWN_MOST ? known_digest(parts, n) : digest(parts, n);
}
