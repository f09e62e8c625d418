/*
 * weir-top -1: everything once, as plain text.
 */
#ifndef WEIR_TOP_PRINT_H
#define WEIR_TOP_PRINT_H

#include "master/top_watch.h"

/*
 * Waits for two readings that are at least delay_ms apart; where the file stays as it is for some seconds
 * more, prints what happened since counting began. Returns the exit status: 1 where nothing could be read.
 */
int top_print(struct top_watch *w, int64_t delay_ms);

#endif
