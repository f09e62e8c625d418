/*
 * Buffers and the free list of the common ones. It alone knows how many are kept; larger ones come
 * from the heap and go back there.
 */
#include "worker/base/buffer.h"

#include <stdlib.h>

#include "worker/base/arena.h"
#include "worker/base/log.h"
#include "worker/base/keep.h"

#define FREE_MOST (KEEPS * 256)    /* 4 MiB */

static struct buffer *unused;
static unsigned unused_count;

static struct buffer *
make(size_t size)
{
    struct buffer *b = xmalloc(sizeof(*b) + size);

    b->size = size;
    return b;
}

static struct buffer *
begin(struct buffer *b)
{
    b->holds = 1;
    b->fill = 0;
    b->next = NULL;
    b->gone = NULL;
    return b;
}

struct buffer *
buffer_get(void)
{
    struct buffer *b = unused;

    if (b == NULL)
        return begin(make(BUFFER_SIZE));
    unused = b->next;
    unused_count--;
    return begin(b);
}

struct buffer *
buffer_get_large(size_t size)
{
    return size <= BUFFER_SIZE ? buffer_get() : begin(make(size));
}

void
buffer_drop(struct buffer *b)
{
    check(b->holds > 0);
    if (--b->holds > 0)
        return;
    if (b->gone != NULL) {
        b->gone(b);
        return;
    }
    if (b->size != BUFFER_SIZE || unused_count + 1 > FREE_MOST) {
        free(b);
        return;
    }
    b->next = unused;
    unused = b;
    unused_count++;
}

void
buffer_flush(void)
{
    while (unused != NULL) {
        struct buffer *b = unused;

        unused = b->next;
        free(b);
    }
    unused_count = 0;
}
