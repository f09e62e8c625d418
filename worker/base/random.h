/* Random bytes from the kernel, fetched a page at a time. */
#ifndef WEIR_RANDOM_H
#define WEIR_RANDOM_H

#include <stddef.h>

void random_bytes(void *to, size_t n);

/* After a fork: what the parent had fetched must not be handed out twice. */
void random_forget(void);

#endif
