/*
 * Buffers: blocks of bytes with a count of who reads them. One that nobody holds goes back to a
 * free list of the process, so the steady state takes nothing from the heap.
 */
#ifndef WEIR_BUFFER_H
#define WEIR_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#define BUFFER_SIZE (16 * 1024 - 64)    /* of the bytes in a common one */

struct buffer {
    size_t holds;
    size_t size;                /* of data */
    size_t fill;                /* bytes written so far: a writer appends here */
    struct buffer *next;        /* on the free list */
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

/* Frees what the free list holds: for the end of a process under a leak checker. */
void buffer_flush(void);

#endif
