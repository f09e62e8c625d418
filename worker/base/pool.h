/*
 * How much the free lists of a process may keep. Under AddressSanitizer they keep nothing, so that it
 * sees every use after a drop.
 */
#ifndef WEIR_POOL_H
#define WEIR_POOL_H

#if defined(__SANITIZE_ADDRESS__)
#define POOL_KEEPS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_KEEPS 0
#endif
#endif

#ifndef POOL_KEEPS
#define POOL_KEEPS 1
#endif

#endif
