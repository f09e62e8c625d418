/* Knows that what reads PEM tells the end of a file as an error, and would ask for a passphrase on a terminal. */
#include "worker/tls/pem.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "worker/base/log.h"

BIO *
pem_open(const struct tls_pem *pem)
{
    BIO *bio = BIO_new_mem_buf(pem->n > 0 ? pem->p : "", (int)pem->n);

    check(bio != NULL);
    ERR_clear_error();
    return bio;
}

bool
pem_is_end(void)
{
    unsigned long error = ERR_peek_last_error();

    return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

int
pem_no_passphrase(char *to, int size, int writing, void *asked)
{
    (void)to;
    (void)size;
    (void)writing;
    if (asked != NULL)
        *(bool *)asked = true;
    return -1;
}
