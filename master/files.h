/*
 * The files that the master opens for its workers and itself. Symbolic links are not followed where
 * a log or the statistics lie: whoever may write to such a directory gains nothing by one.
 */
#ifndef WEIR_FILES_H
#define WEIR_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "master/reason.h"
#include "worker/conf.h"

/* Makes the directory of the path (one level, 0755) where it is missing and the master is root. */
void files_make_parent(const char *path);

/*
 * Opens all of conf->logs, in order: an array of conf->log_count descriptors from malloc; or NULL.
 */
int *files_open_logs(const struct conf *conf, struct reason *why);

/*
 * After they were moved away: those that can't be opened keep the old descriptor; returns how many
 * these are, *why says the last one's reason.
 */
size_t files_reopen_logs(const struct conf *conf, int *fds, struct reason *why);

void files_close_logs(const struct conf *conf, int *fds);

/* Hands them over a worker's control socket. False with errno. */
bool files_send_logs(int control, const int *fds, size_t n);

#endif
