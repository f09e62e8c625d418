/*
 * Lines to where conf.logs say: the access logs, and everything the error log gets. Access lines
 * are buffered and written at most a second late; nothing here ever blocks a request: what a full
 * disk or a slow reader does not take is dropped and counted.
 */
#ifndef WEIR_LOGS_H
#define WEIR_LOGS_H

#include <stdarg.h>
#include <stddef.h>

#include "worker/conf.h"

/*
 * Worker: the descriptors the master opened; the array is copied. `dropped` counts lost lines. The error
 * log (log.h) is pointed to its descriptor here, and by logs_reopen.
 */
void logs_init(const struct conf *conf, const int *fds, uint64_t *dropped);

/* New descriptors, after USR1; the old ones are flushed and closed. `first` is the index of fds[0]. */
void logs_reopen(const int *fds, size_t n, size_t first);

/* One access line; the newline is added here. A longer one is cut: a client may not keep its request out of the log. */
#define LOGS_LINE_MOST (32 * 1024)
void logs_line(unsigned log, struct str line);

/* Writes what is buffered: each second. */
void logs_flush(void);

/* At exit: waits a moment for other workers that write, and counts as dropped what cannot be written. */
void logs_end(void);

#endif
