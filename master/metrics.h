/*
 * The statistics as text, in Prometheus's format: each family once, with # HELP and # TYPE, all of its
 * samples together.
 */
#ifndef WEIR_METRICS_H
#define WEIR_METRICS_H

#include <stdio.h>

#include "master/generation.h"
#include "master/segments.h"

void metrics_write(FILE *to, const struct segments *s, const struct generation *current);

#endif
