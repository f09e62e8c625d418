/*
 * WebSockets over HTTP/2 (RFC 8441). Inside weir an extended CONNECT is what an upgrade is over HTTP/1: a GET with the
 * fields of RFC 6455 4.1, the key made here and its echo checked here. It alone knows the difference.
 */
#include <openssl/evp.h>

#include "worker/base/random.h"
#include "worker/h2/client.h"

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define KEY_BYTES 16
#define KEY_TEXT 24             /* in base64 */
#define SHA1_BYTES 20
#define SHA1_TEXT 28

bool
h2_connect_begin(struct h2_stream *s)
{
    struct request *r = s->r;
    struct fields *f = &r->request.fields;
    unsigned char bytes[KEY_BYTES];

    if (!str_eq(s->connect, STR("websocket")))
        return false;
    random_bytes(bytes, sizeof bytes);
    EVP_EncodeBlock((unsigned char *)s->key, bytes, sizeof bytes);
    r->method_text = STR("GET");
    r->request.length = 0;
    r->request.body.ended = true;       /* until it is a tunnel */
    fields_add_id(f, FIELD_CONNECTION, STR("Upgrade"));
    fields_add_id(f, FIELD_UPGRADE, STR("websocket"));
    fields_remove(f, STR("Sec-WebSocket-Key"));
    fields_add(f, STR("Sec-WebSocket-Key"), (struct str){s->key, KEY_TEXT});
    return true;
}

bool
h2_connect_accepted(const struct h2_stream *s)
{
    struct field *f = fields_find(&s->r->response.fields, STR("Sec-WebSocket-Accept"));
    char text[KEY_TEXT + sizeof GUID], accept[SHA1_TEXT + 1];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n;

    if (f == NULL)              /* a server that speaks HTTP/2 has none to send */
        return s->r->upstream == NULL || s->r->upstream->protocol != UPSTREAM_HTTP1;
    memcpy(text, s->key, KEY_TEXT);
    memcpy(text + KEY_TEXT, GUID, sizeof GUID);
    if (EVP_Digest(text, KEY_TEXT + sizeof GUID - 1, digest, &n, EVP_sha1(), NULL) != 1 || n != SHA1_BYTES)
        return false;
    EVP_EncodeBlock((unsigned char *)accept, digest, SHA1_BYTES);
    return str_eq(f->value, (struct str){accept, SHA1_TEXT});
}

void
h2_connect_enter(struct h2_stream *s)
{
    struct flow *body = &s->r->request.body;

    s->tunnel = true;
    s->c->tunnels++;
    body->ended = s->complete;
    if (s->early.bytes > 0)
        flow_move(body, &s->early, s->early.bytes);
    flow_clear(&s->early);
    body->stopped = body->bytes > 0;
    s->fresh = body->bytes > 0 || body->ended;
}
