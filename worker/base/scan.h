/*
 * Finding the byte that ends a token, 16 or 32 at a time where the CPU can (SSE4.2, AVX2; chosen at
 * run time, once), one at a time elsewhere. All paths give the same answers; t/ runs each.
 *
 * Reads exactly [p, end): never a byte beyond.
 */
#ifndef WEIR_SCAN_H
#define WEIR_SCAN_H

#include <stddef.h>

/* The first byte of a field value that may not stand in one: a control byte but HTAB, or DEL; else end. */
extern const char *(*scan_value)(const char *p, const char *end);

/* The first byte that is no visible ASCII (0x21 to 0x7E); else end. */
extern const char *(*scan_visible)(const char *p, const char *end);

/* The first byte that is no token character (RFC 9110 5.6.2); else end. */
extern const char *(*scan_token)(const char *p, const char *end);

enum scan_level { SCAN_PORTABLE, SCAN_SSE42, SCAN_AVX2 };

/* Chooses the best level at or under `most` that the CPU has, and returns it. Before it is called
 * the portable path serves. */
enum scan_level scan_init(enum scan_level most);

#endif
