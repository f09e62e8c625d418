/*
 * Where libnghttp2 takes its memory from: each stream costs it half a dozen blocks, which here come from lists of those
 * that are used no more, so that the steady state takes nothing from the heap. Of a process, for all its sessions.
 */
#ifndef WEIR_H2_MEMORY_H
#define WEIR_H2_MEMORY_H

#include <nghttp2/nghttp2.h>

/* For nghttp2_session_*_new3. */
extern nghttp2_mem h2_memory;

#endif
