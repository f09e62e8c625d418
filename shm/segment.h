/*
 * Segments: anonymous shared memory behind a descriptor, made by the first master and inherited over
 * fork and exec. A segment begins with what it is (kind, version, size), so that a binary that lays
 * it out otherwise refuses it. Its size is sealed: nobody can make another's access fault.
 */
#ifndef WEIR_SEGMENT_H
#define WEIR_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first bytes of each segment. */
struct segment_head {
    char kind[8];
    uint32_t version;
    uint32_t spare;
    uint64_t size;
};

struct segment {
    void *base;                 /* NULL: none */
    size_t size;
    int fd;                     /* close-on-exec */
};

/* `size` zero bytes, of which only those touched cost memory. False with errno. */
bool segment_create(struct segment *s, const char *kind, uint32_t version, size_t size);

/*
 * The inherited descriptor; it stays the caller's where this fails (EINVAL: no segment, or one of
 * another kind or version).
 */
bool segment_attach(struct segment *s, const char *kind, uint32_t version, int fd);

void segment_detach(struct segment *s);

/* Gives whole pages back: they read as zeros again. Offset and size are multiples of the page's. */
void segment_punch(const struct segment *s, size_t offset, size_t size);

size_t segment_page(void);

/* `n` bytes, rounded up to whole pages. */
size_t segment_pages(size_t n);

#endif
