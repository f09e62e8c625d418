/*
 * Buffers: blocks of bytes with a count of who reads them. One that nobody holds goes back to a
 * free list of the process, so the steady state takes nothing from the heap.
 */
#ifndef WEIR_BUFFER_H
#define WEIR_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#define BUFFER_SIZE (16 * 1024) /* of the bytes in a common one: a TLS record fits, and four are a flow's 64 KiB */

struct buffer {
    size_t holds;
    size_t size;                /* of data */
    size_t fill;                /* bytes written so far: a writer appends here */
    struct buffer *next;        /* on the free list */
    void (*gone)(struct buffer *b);     /* NULL; or it is somebody's own, who is told when nobody holds it any more */
    char data[];
};

/* Held once, empty. buffer_get_large: of at least `size` bytes, from the heap if need be. */
struct buffer *buffer_get(void);
struct buffer *buffer_get_large(size_t size);

static inline struct buffer *
buffer_hold(struct buffer *b)
{
    b->holds++;
    return b;
}

void buffer_drop(struct buffer *b);

/* One of somebody's own, that stands for bytes elsewhere: held once; its slices point to these bytes. */
static inline void
buffer_own(struct buffer *b, void (*gone)(struct buffer *b))
{
    *b = (struct buffer){.holds = 1, .gone = gone};
}

/* Frees what the free list holds: for the end of a process under a leak checker. */
void buffer_flush(void);

#endif
