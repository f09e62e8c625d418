/*
 * The one place that knows whose SHA-256 it is: OpenSSL's, by the functions of the algorithm itself, with the context
 * on the stack. They are deprecated in favour of EVP, which before OpenSSL 3.1 allocates a context for each digest
 * even where one is used again; here nothing is allocated per request.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "modules/sha.h"

#include <openssl/sha.h>
#include <stdint.h>

#include "worker/base/log.h"

/* A number in the order of bytes that every machine reads alike. */
static void
put_number(SHA256_CTX *context, uint64_t number)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(number >> 8 * i);
    check(SHA256_Update(context, bytes, sizeof(bytes)) == 1);
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
    SHA256_CTX context;

    check(SHA256_Init(&context) == 1);
    put_number(&context, n);
    for (size_t i = 0; i < n; i++) {
        put_number(&context, parts[i].n);
        if (parts[i].n > 0)
            check(SHA256_Update(&context, parts[i].p, parts[i].n) == 1);
    }
    check(SHA256_Final(digest, &context) == 1);
    return (struct cache_key){{get_number(digest), get_number(digest + 8)}};
}
