/*
 * What readv(2) and writev(2) take: pieces of memory, in their order.
 */
#ifndef WEIR_IOV_H
#define WEIR_IOV_H

#include <stddef.h>
#include <sys/uio.h>

/* The bytes of all n together. */
static inline size_t
iov_length(const struct iovec *v, int n)
{
    size_t all = 0;

    for (int i = 0; i < n; i++)
        all += v[i].iov_len;
    return all;
}

#endif
