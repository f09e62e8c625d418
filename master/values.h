/*
 * The words of weir.yaml that stand for numbers. What does not fit is no value: nothing overflows,
 * nothing is rounded. Each returns whether the whole text is one.
 */
#ifndef WEIR_VALUES_H
#define WEIR_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/base/arena.h"
#include "worker/base/str.h"
#include "worker/key.h"

/* true or false. YAML 1.1's other words are strings: `no` is a country as often as it is a no. */
bool values_bool(struct str text, bool *value);

/* Decimal, with a minus. No leading zero: to YAML 1.1 it means octal, to people it doesn't. */
bool values_int(struct str text, int64_t *value);

/* Bytes: 512, 4k, 64m, 1g; powers of 1024. */
bool values_size(struct str text, int64_t *value);

/* Milliseconds: 500ms, 5s, 10m, 1h, 7d, or 0. Never without a unit. */
bool values_duration(struct str text, int64_t *value);

/* 0% to 1000%. */
bool values_percent(struct str text, int64_t *value);

/* 10/s 600/m 5000/h: at least one. */
bool values_rate(struct str text, struct rate *value);

/* The other way, as one would write it. */
struct str values_size_text(int64_t value, struct arena *a);
struct str values_duration_text(int64_t value, struct arena *a);

#endif
