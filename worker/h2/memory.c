/*
 * Small blocks are of a size in steps of 64 bytes, and go to the list of their size; what is larger is the heap's own.
 * It alone knows how many are kept. Where none are, under AddressSanitizer, each is the heap's own, of its very size.
 */
#include "worker/h2/memory.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/keep.h"

#define STEP 64
#define STEPS_MOST 16           /* 1 KiB */
#define KEPT_MOST ((size_t)KEEPS * 1024 * 1024)         /* bytes, in all lists */

struct block {
    size_t steps;               /* 0: a large one */
    struct block *next;         /* on its list */
    _Alignas(max_align_t) char bytes[];
};

static struct block *unused[STEPS_MOST + 1];
static size_t kept;

static struct block *
block_of(void *p)
{
    return (struct block *)((char *)p - offsetof(struct block, bytes));
}

static void *
begin(struct block *b, size_t steps)
{
    if (b == NULL)
        return NULL;
    b->steps = steps;
    return b->bytes;
}

static void *
take(size_t n, void *data)
{
    size_t steps = n > 0 ? (n + STEP - 1) / STEP : 1;
    struct block *b;

    (void)data;
    if (KEEPS == 0 || n > STEPS_MOST * STEP)
        return n < SIZE_MAX / 2 ? begin(malloc(sizeof(*b) + n), 0) : NULL;
    b = unused[steps];
    if (b == NULL)
        return begin(malloc(sizeof(*b) + steps * STEP), steps);
    unused[steps] = b->next;
    kept -= steps * STEP;
    return b->bytes;
}

static void
give(void *p, void *data)
{
    struct block *b;

    (void)data;
    if (p == NULL)
        return;
    b = block_of(p);
    if (b->steps == 0 || kept + b->steps * STEP > KEPT_MOST) {
        free(b);
        return;
    }
    b->next = unused[b->steps];
    unused[b->steps] = b;
    kept += b->steps * STEP;
}

static void *
take_zeros(size_t count, size_t size, void *data)
{
    size_t n;
    void *p;

    if (__builtin_mul_overflow(count, size, &n))
        return NULL;
    p = take(n, data);
    return p != NULL ? memset(p, 0, n) : NULL;
}

static void *
resize(void *p, size_t n, void *data)
{
    struct block *b = p != NULL ? block_of(p) : NULL;
    void *to;

    if (b == NULL)
        return take(n, data);
    if (b->steps == 0)
        return n < SIZE_MAX / 2 ? begin(realloc(b, sizeof(*b) + n), 0) : NULL;
    if (n <= b->steps * STEP)
        return p;
    to = take(n, data);
    if (to == NULL)
        return NULL;
    memcpy(to, p, b->steps * STEP);
    give(p, data);
    return to;
}

nghttp2_mem h2_memory = {.malloc = take, .free = give, .calloc = take_zeros, .realloc = resize};
