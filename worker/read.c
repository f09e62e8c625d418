/*
 * The READ phase: method, target, Host and Expect, whatever protocol they came by. No line of the file
 * says what is read: what is traced here is told of the listener.
 */
#include "worker/read.h"

#include "worker/forwarded.h"
#include "worker/tls/facts.h"
#include "worker/trace.h"

/* RFC 9110 9.3.8: no content in a TRACE. A method is whatever token came; CONNECT would be a tunnel. */
static int
read_method(struct request *r)
{
    r->method = method_of(r->method_text);
    if (r->method == METHOD_CONNECT) {
        trace(r, r->listener->line, "405: there is no CONNECT through weir");
        return 405;
    }
    if (r->method == METHOD_TRACE && r->request.length != 0) {
        trace(r, r->listener->line, "400: a TRACE has no content");
        return 400;
    }
    return 0;
}

static bool
is_https(struct str scheme)
{
    return scheme.n == 5;
}

static int
read_name(struct request *r, struct host *host, struct str value)
{
    int status = host_parse(host, value, r->arena);

    if (status != 0)
        trace(r, r->listener->line, "%d: %.*s is no host", status, STR_ARG(value));
    return status;
}

/*
 * RFC 9112 3.2.2: the absolute form's authority is the host. The Host field beside it has to agree,
 * which is stricter than to ignore it, and leaves nothing for two readers to see differently.
 */
static int
read_host(struct request *r)
{
    struct host absolute, field = {.port = -1};
    int status;

    r->host_field = fields_value(&r->request.fields, FIELD_HOST);
    r->host.port = -1;
    if (r->host_field.p == NULL) {
        if (r->minor > 0) {
            trace(r, r->listener->line, "400: there is no Host");
            return 400;
        }
    } else if ((status = read_name(r, &field, r->host_field)) != 0) {
        return status;
    }
    if (r->uri.form == URI_ABSOLUTE) {
        if ((status = read_name(r, &absolute, r->uri.authority)) != 0)
            return status;
        if (r->host_field.p != NULL && !host_equal(&absolute, &field, is_https(r->uri.scheme))) {
            trace(r, r->listener->line, "400: Host is another one than the target's");
            return 400;
        }
        r->host = absolute;
        r->host_field = r->uri.authority;
    } else {
        r->host = field;
    }
    return 0;
}

/* What is odd about the path; which one it is ROUTE tells. */
static void
tell_path(struct request *r)
{
    const struct uri *u = &r->uri;

    if (u->dots)
        trace(r, r->listener->line, "the path holds dot segments: an upstream gets the canonical one");
    if (u->encoded_slash)
        trace(r, r->listener->line, "the path holds an encoded slash");
}

static int
read_target(struct request *r)
{
    int status = uri_parse(&r->uri, r->target, r->arena);

    if (status != 0) {
        trace(r, r->listener->line, "%d: the target holds what is refused: %s", status, r->uri.why);
        return status;
    }
    /* RFC 9112 3.2.4: that is how a client says "*" to a proxy */
    if (r->method == METHOD_OPTIONS && r->uri.bare)
        r->uri.path = r->uri.canonical = STR("*");
    if (r->uri.form == URI_AUTHORITY || (r->uri.form == URI_ASTERISK && r->method != METHOD_OPTIONS)) {
        trace(r, r->listener->line, "400: %.*s has no such target", STR_ARG(r->method_text));
        return 400;
    }
    if (r->trace != NULL)
        tell_path(r);
    return 0;
}

/*
 * RFC 9110 7.4: where clients' certificates are asked for, the handshake was for one name, and its outcome is not lent
 * to another site of the same listener.
 */
static int
read_agreement(struct request *r)
{
    if (r->tls == NULL || !r->tls->strict || (r->tls->sni.n > 0 && str_eq(r->tls->sni, r->host.name)))
        return 0;
    trace(r, r->listener->line, "421: clients' certificates are asked for, and Host is not the name of the handshake");
    return 421;
}

/* RFC 9110 10.1.1. An HTTP/1.0 client's expectation is ignored. */
static int
read_expect(struct request *r)
{
    const struct fields *f = &r->request.fields;

    if (!(f->seen >> FIELD_EXPECT & 1) || r->minor == 0)
        return 0;
    for (size_t i = 0; i < f->n; i++)
        if (f->v[i].id == FIELD_EXPECT && !str_ieq(f->v[i].value, STR("100-continue"))) {
            trace(r, r->listener->line, "417: Expect is not 100-continue");
            return 417;
        }
    r->expects_continue = !r->request.body.ended;
    return 0;
}

int
read_request(struct request *r)
{
    int status;

    if ((status = read_method(r)) != 0 || (status = read_target(r)) != 0 || (status = read_host(r)) != 0 ||
        (status = read_agreement(r)) != 0)
        return status;
    forwarded_trust(r);
    /* RFC 9110 7.4: a request for https that did not come over it is misdirected */
    if (r->uri.form == URI_ABSOLUTE && is_https(r->uri.scheme) && !r->https) {
        trace(r, r->listener->line, "421: https was asked for, and this did not come over it");
        return 421;
    }
    return read_expect(r);
}

int
read_content_limit(struct request *r)
{
    size_t most = r->scope->policy.limits.request_body;
    bool announced = r->request.length != LENGTH_UNKNOWN;

    if (most == 0 || (r->request.body.passed <= most && !(announced && (uint64_t)r->request.length > most)))
        return 0;
    trace(r, r->scope->policy_lines[POLICY_LINE(limits.request_body)],
          "413: the content is longer than limits.request_body, %zu bytes", most);
    return 413;
}
