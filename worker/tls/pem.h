/*
 * Files of certificates and keys as PEM, read by the master: what all of their readers have to know.
 */
#ifndef WEIR_TLS_PEM_H
#define WEIR_TLS_PEM_H

#include <stdbool.h>

#include <openssl/bio.h>

#include "worker/tls/server.h"

/* The bytes stay the caller's. OpenSSL's queue of errors is empty afterwards. */
BIO *pem_open(const struct tls_pem *pem);

/* After a read that gave nothing: whether that is the end of the file, and not something that cannot be read. */
bool pem_is_end(void);

/* A pem_password_cb: nobody is there to be asked. `asked` points to a bool that tells; it may be NULL. */
int pem_no_passphrase(char *to, int size, int writing, void *asked);

#endif
