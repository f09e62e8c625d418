/*
 * Arenas: memory with one birth and one death. Allocation never fails (a process without memory
 * dies; the master starts another), nothing is freed alone, and arena_free runs the cleanups, the
 * youngest first, and gives everything back in one stroke. First blocks are kept on a free list of
 * the process, so a request in the steady state costs no malloc.
 */
#ifndef WEIR_ARENA_H
#define WEIR_ARENA_H

#include <stdarg.h>
#include <stddef.h>

#include "worker/base/str.h"

struct arena;

struct arena *arena_new(void);
void arena_free(struct arena *a);

/* Aligned for any type, uninitialised / zeroed. */
void *arena_alloc(struct arena *a, size_t n);
void *arena_zalloc(struct arena *a, size_t n);

/* A copy in the arena, with a NUL after it that the slice does not count. */
struct str arena_copy(struct arena *a, struct str s);
char *arena_cstr(struct arena *a, struct str s);
struct str arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct str arena_vprintf(struct arena *a, const char *fmt, va_list ap);

/* Calls fn(data) when the arena dies. */
void arena_cleanup(struct arena *a, void (*fn)(void *), void *data);

/* Bytes taken from the system for this arena. */
size_t arena_footprint(const struct arena *a);

/* malloc and calloc that never return NULL: for what lives as long as the process. */
void *xmalloc(size_t n);
void *xcalloc(size_t count, size_t n);
void *xrealloc(void *p, size_t n);

#endif
