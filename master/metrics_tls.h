/* What the statistics say of certificates. */
#ifndef WEIR_METRICS_TLS_H
#define WEIR_METRICS_TLS_H

#include <stdio.h>

#include "worker/base/arena.h"
#include "worker/conf.h"

/* When each certificate of the listeners expires. */
void metrics_certificates(FILE *to, const struct conf *conf, struct arena *arena);

#endif
