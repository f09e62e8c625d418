/*
 * The system's certificate authorities. OpenSSL would look into the folder of them each time it verifies; this looks at
 * the names that it would look for (eight digits of a hash, a point, a number), and reads them all beforehand.
 */
#include "worker/tls/system_store.h"

#include <ctype.h>
#include <dirent.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <stdlib.h>

#define HASH_DIGITS 8

/* The last one made, for the configuration that is being loaded. */
static struct {
    const struct arena *of;
    X509_STORE *store;
} last;

static void
forget(void *arena)
{
    if (last.of != arena)
        return;
    X509_STORE_free(last.store);
    last.store = NULL;
    last.of = NULL;
}

static const char *
place(const char *variable, const char *otherwise)
{
    const char *set = secure_getenv(variable);

    return set != NULL ? set : otherwise;
}

static bool
is_hashed(const char *name)
{
    for (size_t i = 0; i < HASH_DIGITS; i++)
        if (!isxdigit((unsigned char)name[i]))
            return false;
    return name[HASH_DIGITS] == '.' && isdigit((unsigned char)name[HASH_DIGITS + 1]);
}

static void
read_folder(X509_STORE *store, const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    char file[4096];

    while (folder != NULL && (entry = readdir(folder)) != NULL)
        if (is_hashed(entry->d_name) && snprintf(file, sizeof(file), "%s/%s", path, entry->d_name) < (int)sizeof(file))
            X509_STORE_load_file(store, file);
    if (folder != NULL)
        closedir(folder);
}

/* As OpenSSL: a list of folders. */
static void
read_folders(X509_STORE *store, const char *paths)
{
    struct arena *a = arena_new();
    struct str rest = str_of(paths);

    while (rest.n > 0)
        read_folder(store, arena_cstr(a, str_cut(&rest, ':')));
    arena_free(a);
}

static X509_STORE *
read_store(void)
{
    X509_STORE *store = X509_STORE_new();

    if (store == NULL)
        return NULL;
    X509_STORE_load_file(store, place(X509_get_default_cert_file_env(), X509_get_default_cert_file()));
    read_folders(store, place(X509_get_default_cert_dir_env(), X509_get_default_cert_dir()));
    ERR_clear_error();
    if (sk_X509_OBJECT_num(X509_STORE_get0_objects(store)) > 0)
        return store;
    X509_STORE_free(store);
    return NULL;
}

X509_STORE *
system_store(struct arena *a)
{
    if (last.of != a) {
        X509_STORE_free(last.store);
        last.store = read_store();
        last.of = a;
        arena_cleanup(a, forget, a);
    }
    if (last.store != NULL)
        X509_STORE_up_ref(last.store);
    return last.store;
}
