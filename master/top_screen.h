/*
 * weir-top in a terminal.
 */
#ifndef WEIR_TOP_SCREEN_H
#define WEIR_TOP_SCREEN_H

#include "master/top_watch.h"

/* Until the user quits or the terminal is gone. Returns the exit status: 1 where the terminal can't be used. */
int top_screen(struct top_watch *w, int64_t delay_ms);

#endif
