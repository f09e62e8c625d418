/*
 * The one place that knows whose SHA-256 it is: OpenSSL's, by the functions of the algorithm itself, with the context
 * on the stack. They are deprecated in favour of EVP, which before OpenSSL 3.1 allocates a context for each digest
 * even where one is used again; here nothing is allocated per request.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "modules/sha.h"

#include <openssl/sha.h>
#include <stdint.h>
#include <string.h>

#include "worker/base/log.h"

#define BUFFER 512              /* longer parts go in by themselves */

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

struct cache_key
sha_key(const struct str *parts, size_t n)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    struct input in;

    in.n = 0;
    check(SHA256_Init(&in.context) == 1);
    put_number(&in, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        check(parts[i].n <= UINT32_MAX);
        put_number(&in, (uint32_t)parts[i].n);
        put(&in, parts[i].p, parts[i].n);
    }
    flush(&in);
    check(SHA256_Final(digest, &in.context) == 1);
    return (struct cache_key){{get_number(digest), get_number(digest + 8)}};
}
