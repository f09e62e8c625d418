/* For unit tests of shared memory, which fork. */
#ifndef WEIR_PROCESSES_H
#define WEIR_PROCESSES_H

#include <check.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* Memory that the forked share, beside what is tested. */
static inline void *
shared(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(p, MAP_FAILED);
    return p;
}

/* So many children, each of which ends well. */
static inline void
reap(unsigned n)
{
    int status;

    while (n-- > 0) {
        ck_assert_int_gt(wait(&status), 0);
        ck_assert_int_eq(status, 0);
    }
}

#endif
