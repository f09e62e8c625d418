#!/usr/bin/python3
"""Found by reading the RFCs against weir: who is waited for, what may not hide a loop, what ends where."""

import time

from lib.weir import OK, Origin, proxy, run, start

GET = "GET / HTTP/1.1\r\nHost: t\r\n\r\n"
EXPECT = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"


def late_continue(seconds):
    def answer(peer):
        peer.head()
        time.sleep(seconds)
        peer.send("HTTP/1.1 100 Continue\r\n\r\n")
        peer.read(5)
        peer.send(OK)
        peer.rest()
    return Origin(raw=answer)


def test_client_body_does_not_run_while_the_origin_owes_a_100():
    c = proxy(late_continue(1.5), "timeouts: {client_body: 500ms}").connect()
    r = c.ask(EXPECT)
    assert r.status == 100, r
    assert c.ask("hello").status == 200


def test_nor_does_min_rate():
    c = proxy(late_continue(11)).connect()
    assert c.ask(EXPECT).status == 100
    r = c.ask("hello")
    assert r.status == 200, r


def test_a_quote_in_via_hides_no_loop():
    weir = proxy("127.0.0.1:1")
    weir.reload(f"""
upstreams: {{app: {{servers: ["127.0.0.1:{weir.port}"]}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
""")
    for via in ['Via: "', 'Via: 1.1 a (", b', "Via: 1.1 a (\\"]:
        assert weir.get("/", via).status == 508, (via, len(weir.access(9)))


def test_trailers_that_connection_names_end_here():
    """RFC 9110 7.6.1: any header or trailer field of that name."""
    origin = Origin(b"HTTP/1.1 200 OK\r\nConnection: X-Nom\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
                    b"X-Nom: 1\r\nX-Stay: 2\r\n\r\n")
    weir = proxy(origin)
    r = weir.ask("POST / HTTP/1.1\r\nHost: t\r\nConnection: X-Nom\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
                 "X-Nom: 1\r\nX-Stay: 2\r\n\r\n")
    assert origin.request().trailers == [("X-Stay", "2")], origin.request().trailers
    assert r.trailers == [("X-Stay", "2")], r.trailers


def test_pipelined_requests_before_a_half_close_are_all_answered():
    def answer(peer, _):
        time.sleep(0.3)
        return OK

    c = proxy(Origin(answer)).connect().send(3 * GET)
    time.sleep(0.1)
    got = c.shut().rest().count(b"HTTP/1.1 200 OK")
    assert got == 3, got


def test_own_304_says_nothing_of_a_length():
    """RFC 9110 8.6: only what a 200 would have said."""
    weir = start('sites: [{hosts: [t], routes: [{respond: {status: 304, headers: {ETag: "x"}}}]}]')
    assert weir.get().get("Content-Length") is None


def test_of_two_forwarded_protos_the_nearest_counts():
    """A proxy that appends a line of its own leaves the client's before it."""
    origin = Origin()
    weir = proxy(origin, "trusted_proxies: 127.0.0.1")
    weir.get("/", "X-Forwarded-Proto: https", "X-Forwarded-Proto: http")
    assert origin.request().get("X-Forwarded-Proto") == "http", origin.request()


if __name__ == "__main__":
    run()
