/*
 * How much the free lists of a process may keep. Under AddressSanitizer they keep nothing, so that it
 * sees every use after a drop.
 */
#ifndef WEIR_KEEP_H
#define WEIR_KEEP_H

#if defined(__SANITIZE_ADDRESS__)
#define KEEPS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEEPS 0
#endif
#endif

#ifndef KEEPS
#define KEEPS 1
#endif

#endif
