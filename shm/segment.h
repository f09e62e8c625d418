/*
 * Segments: shared memory behind a descriptor, made by the first master and inherited over fork and exec; anonymous,
 * or a file that is its owner's alone. A segment begins with what it is (kind, version, size), so that a binary that
 * lays it out otherwise refuses it. Its size is sealed: nobody can make another's access fault. (Of a file only its
 * owner could.)
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
    uint32_t layout;
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

/*
 * What most segments have in common: somebody's struct, of `owner` bytes, begins with the struct segment, and the
 * memory begins with a head of `head` bytes, which begins with the struct segment_head.
 */
struct segment_kind {
    const char *name;           /* 8 bytes */
    uint32_t version;
    uint32_t layout;            /* SEGMENT_LAYOUT */
    size_t owner;
    size_t head;
};

/* Of the sizes of the structs that lie in it, so that a forgotten version shows. */
#define SEGMENT_LAYOUT(a, b, c) ((uint32_t)((((a) * 2654435761u) + (b)) * 2654435761u + (c)))

/* The owner, zeroed but for its segment, or NULL with errno; it ends with segment_end. */
void *segment_make(const struct segment_kind *kind, size_t size);
/*
 * The same for a descriptor that was inherited, which stays the caller's where this fails. `understand` looks at
 * what stands in the memory, and is told what segment_take was: false where it is no such segment, with nothing
 * left to be given back.
 */
void *segment_take(const struct segment_kind *kind, int fd, bool (*understand)(void *owner, unsigned rows),
                   unsigned rows);
void segment_end(void *owner);

/*
 * For a file. segment_map: all of it, whatever stands in it; the descriptor stays the caller's where this fails.
 * segment_name writes what it is into it, segment_is says whether that stands there.
 */
void *segment_map(const struct segment_kind *kind, int fd);
void segment_name(void *owner, const struct segment_kind *kind);
bool segment_is(const void *owner, const struct segment_kind *kind);

size_t segment_page(void);

/* `n` bytes, rounded up to whole pages. */
size_t segment_pages(size_t n);

#endif
