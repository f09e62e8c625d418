/* Knows what OpenSSL allocates with, and that a block is as long as the allocator says, not as it was asked for. */
#include "worker/tls/wiping.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool wipes;

static void *
take(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return malloc(n);
}

static void
give_back(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    if (p != NULL && wipes)
        explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

static void *
resize(void *p, size_t n, const char *file, int line)
{
    size_t old = p != NULL ? malloc_usable_size(p) : 0;
    void *to;

    if (!wipes)
        return realloc(p, n);
    to = n > 0 ? malloc(n) : NULL;
    if (to == NULL && n > 0)
        return NULL;
    if (p != NULL && n > 0)
        memcpy(to, p, old < n ? old : n);
    give_back(p, file, line);
    return to;
}

void
wiping_begin(void)
{
    wipes = CRYPTO_set_mem_functions(take, resize, give_back) == 1;
}

void
wiping_end(void)
{
    wipes = false;
}
