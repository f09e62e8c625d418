/*
 * The certificate authorities that the system trusts, where OpenSSL says that they are (SSL_CERT_FILE and SSL_CERT_DIR
 * count as ever). Read once for a configuration, in the master: workers open no files.
 */
#ifndef WEIR_TLS_SYSTEM_STORE_H
#define WEIR_TLS_SYSTEM_STORE_H

#include "worker/base/arena.h"

struct x509_store_st;

/* The caller has a reference of its own. NULL: there is no certificate. All who ask with one arena get the same. */
struct x509_store_st *system_store(struct arena *a);

#endif
