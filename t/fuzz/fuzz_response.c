/* A response: head and chunked content. */
#include "t/fuzz/feed.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct message m;

    if (n < CHOICES)
        return 0;
    read_both_ways(&m, choose(data), h1_parse_response, (const char *)data + CHOICES, n - CHOICES);
    MUST(m.got == H1_MORE || m.got == H1_DONE || m.got == 502);
    if (m.got == H1_DONE) {
        MUST(m.head.status >= 100 && m.head.status <= 599);
        MUST(field_is_value(m.head.reason) && m.head.framing != H1_NO_BODY);
    }
    message_end(&m);
    return 0;
}
