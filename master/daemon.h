/*
 * Going to the background: the started process waits until the service runs.
 */
#ifndef WEIR_DAEMON_H
#define WEIR_DAEMON_H

#include <stdbool.h>

/*
 * Forks. The parent never returns: it exits 0 once the child calls daemon_running, 1 where the child
 * ends before, having told the reason on stderr. Returns in the child, with what daemon_running takes;
 * -1 with errno where it can't fork.
 */
int daemon_start(void);

/* First thing: descriptors 0 to 2 are open, so that nothing else ever gets one of these numbers. */
void daemon_standard_files(void);

/* stdin and stdout are /dev/null from now on, and stderr, unless it is to be kept. */
void daemon_leave_terminal(bool keep_stderr);

/* Lets the parent go, and leaves the terminal. */
void daemon_running(int started, bool keep_stderr);

#endif
