/*
 * OpenSSL's memory, wiped when it gives it back: where it decodes a private key it leaves copies of the whole key
 * behind, and a key that is retired has to stand nowhere.
 */
#ifndef WEIR_TLS_WIPING_H
#define WEIR_TLS_WIPING_H

/* Master, before OpenSSL is asked for anything. */
void wiping_begin(void);

/* Worker, at its start: keys are read by the master alone, and what OpenSSL derives from them it wipes itself. */
void wiping_end(void);

#endif
