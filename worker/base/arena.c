/*
 * Arenas are chains of blocks. A block of 4 KiB is carved from front to back; what is too big to
 * leave most of one over gets a block of its own, and the one being carved stays. 4 KiB blocks come
 * from and return to a free list of the process, so the steady state calls no malloc; bigger ones
 * go back to the system at once. The struct arena lies in its own first block.
 *
 * Built with AddressSanitizer, nothing is kept and every allocation has a poisoned gap behind it, so
 * that a use after arena_free or a byte too far is seen.
 */
#include "worker/base/arena.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WATCHED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define WATCHED 1
#endif

#ifdef WATCHED
#include <sanitizer/asan_interface.h>
#define KEPT_MOST 0
#define GAP 16
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define KEPT_MOST 256
#define GAP 0
#endif

#define BLOCK_SIZE 4096
/* Over this an allocation that doesn't fit gets its own block: at most a quarter is left unused. */
#define OWN_BLOCK (BLOCK_SIZE / 4)
#define ALIGN _Alignof(max_align_t)

struct block {
    struct block *next;
    size_t size;                /* of all of it, this header too */
    max_align_t bytes[];
};

struct cleanup {
    struct cleanup *next;
    void (*fn)(void *);
    void *data;
};

struct arena {
    char *at;                   /* next free byte of the block being carved */
    char *end;
    struct block *blocks;
    struct cleanup *cleanups;   /* the youngest first */
    size_t footprint;
};

static struct block *kept;
static int kept_count;

static void
out_of_memory(void)
{
    static const char text[] = "weir: out of memory\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);

    (void)ignored;
    abort();
}

void *
xmalloc(size_t n)
{
    void *p = malloc(n > 0 ? n : 1);

    if (p == NULL)
        out_of_memory();
    return p;
}

void *
xcalloc(size_t count, size_t n)
{
    void *p = calloc(count > 0 ? count : 1, n > 0 ? n : 1);

    if (p == NULL)
        out_of_memory();
    return p;
}

void *
xrealloc(void *p, size_t n)
{
    p = realloc(p, n > 0 ? n : 1);
    if (p == NULL)
        out_of_memory();
    return p;
}

static struct block *
block_new(size_t size)
{
    struct block *b = kept;

    if (size == BLOCK_SIZE && b != NULL) {
        kept = b->next;
        kept_count--;
        return b;
    }
    b = xmalloc(size);
    b->size = size;
    ASAN_POISON_MEMORY_REGION(b->bytes, size - sizeof(*b));
    return b;
}

static void
block_free(struct block *b)
{
    if (b->size == BLOCK_SIZE && kept_count < KEPT_MOST) {
        b->next = kept;
        kept = b;
        kept_count++;
        return;
    }
    ASAN_UNPOISON_MEMORY_REGION(b->bytes, b->size - sizeof(*b));
    free(b);
}

static void
block_add(struct arena *a, struct block *b)
{
    b->next = a->blocks;
    a->blocks = b;
    a->footprint += b->size;
}

struct arena *
arena_new(void)
{
    struct block *b = block_new(BLOCK_SIZE);
    struct arena *a = (struct arena *)b->bytes;

    ASAN_UNPOISON_MEMORY_REGION(a, sizeof(*a));
    *a = (struct arena){.at = (char *)(a + 1), .end = (char *)b + BLOCK_SIZE};
    block_add(a, b);
    return a;
}

void
arena_free(struct arena *a)
{
    struct block *next;

    while (a->cleanups != NULL) {
        struct cleanup *c = a->cleanups;

        a->cleanups = c->next;
        c->fn(c->data);
    }
    for (struct block *b = a->blocks; b != NULL; b = next) {
        next = b->next;
        block_free(b);
    }
}

/* The block being carved has no room for n bytes. */
static void *
alloc_slowly(struct arena *a, size_t n, size_t align)
{
    struct block *b;

    if (n > SIZE_MAX - sizeof(*b) - GAP)
        out_of_memory();
    if (n > OWN_BLOCK) {
        b = block_new(sizeof(*b) + n + GAP);
        block_add(a, b);
        ASAN_UNPOISON_MEMORY_REGION(b->bytes, n);
        return b->bytes;
    }
    b = block_new(BLOCK_SIZE);
    block_add(a, b);
    a->at = (char *)b->bytes;
    a->end = (char *)b + BLOCK_SIZE;
    assert((uintptr_t)a->at % align == 0);
    return a->at;
}

static inline void *
take(struct arena *a, size_t n, size_t align)
{
    char *p = (char *)(((uintptr_t)a->at + align - 1) & ~(uintptr_t)(align - 1));

    if (__builtin_expect(p > a->end || n + GAP > (size_t)(a->end - p) || n > BLOCK_SIZE, 0)) {
        p = alloc_slowly(a, n, align);
        if (n > OWN_BLOCK)
            return p;
    }
    a->at = p + n + GAP;
    ASAN_UNPOISON_MEMORY_REGION(p, n);
    return p;
}

void *
arena_alloc(struct arena *a, size_t n)
{
    return take(a, n, ALIGN);
}

void *
arena_zalloc(struct arena *a, size_t n)
{
    return memset(take(a, n, ALIGN), 0, n);
}

char *
arena_cstr(struct arena *a, struct str s)
{
    char *p;

    if (s.n == SIZE_MAX)
        out_of_memory();
    p = take(a, s.n + 1, 1);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

struct str
arena_copy(struct arena *a, struct str s)
{
    return (struct str){arena_cstr(a, s), s.n};
}

struct str
arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
    va_list again;
    char *p;
    int n;

    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    assert(n >= 0);
    p = take(a, (size_t)n + 1, 1);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    return (struct str){p, (size_t)n};
}

struct str
arena_printf(struct arena *a, const char *fmt, ...)
{
    struct str s;
    va_list ap;

    va_start(ap, fmt);
    s = arena_vprintf(a, fmt, ap);
    va_end(ap);
    return s;
}

void
arena_cleanup(struct arena *a, void (*fn)(void *), void *data)
{
    struct cleanup *c = arena_alloc(a, sizeof(*c));

    *c = (struct cleanup){.next = a->cleanups, .fn = fn, .data = data};
    a->cleanups = c;
}

size_t
arena_footprint(const struct arena *a)
{
    return a->footprint;
}
