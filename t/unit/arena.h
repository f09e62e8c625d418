/* An arena for each test of a file: its fixture is setup and teardown. */
#ifndef WEIR_UNIT_ARENA_H
#define WEIR_UNIT_ARENA_H

#include "worker/base/arena.h"

static struct arena *arena;

static void
setup(void)
{
    arena = arena_new();
}

static void
teardown(void)
{
    arena_free(arena);
}

#endif
