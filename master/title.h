/*
 * What ps shows of a process.
 */
#ifndef WEIR_TITLE_H
#define WEIR_TITLE_H

/*
 * First thing in main(): moves arguments and environment out of the memory that ps reads. Returns the
 * arguments' copy, for good; argv itself is not to be used any more.
 */
char **title_init(int argc, char **argv);

/* The line of this process, and its short name (15 characters). */
void title_set(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
