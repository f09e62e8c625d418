/*
 * The one place that knows whose SHA-256 it is. The algorithm is fetched once and one context serves all digests of
 * the process, so that OpenSSL neither looks anything up nor allocates; both live as long as the process.
 */
#include "modules/sha.h"

#include <openssl/evp.h>
#include <stdint.h>

#include "worker/base/log.h"

#define SHA_BYTES 32

static EVP_MD *algorithm;
static EVP_MD_CTX *context;

static void
fetch(void)
{
    algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
    check(algorithm != NULL);
    context = EVP_MD_CTX_new();
    check(context != NULL);
}

/* A number in the order of bytes that every machine reads alike. */
static void
put_number(uint64_t number)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(number >> 8 * i);
    check(EVP_DigestUpdate(context, bytes, sizeof(bytes)) == 1);
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
    uint8_t digest[SHA_BYTES];
    unsigned size = 0;

    if (context == NULL)
        fetch();
    check(EVP_DigestInit_ex2(context, algorithm, NULL) == 1);
    put_number(n);
    for (size_t i = 0; i < n; i++) {
        put_number(parts[i].n);
        if (parts[i].n > 0)
            check(EVP_DigestUpdate(context, parts[i].p, parts[i].n) == 1);
    }
    check(EVP_DigestFinal_ex(context, digest, &size) == 1 && size == SHA_BYTES);
    return (struct cache_key){{get_number(digest), get_number(digest + 8)}};
}
