#!/usr/bin/python3
"""TLS sessions are resumed by whichever worker a client comes to, after a reload and an upgrade too; and never where
another certificate, another name or other rules for clients hold."""

import re

from lib import tls
from lib import weir as plain
from lib.daemon import Daemon
from lib.tls import GET, NAME, VERSIONS, connect, context, facts, make, s_client, serve
from lib.weir import Origin, free_port, run, start

TIMES = 24              # a connection that comes to another worker each time would fail at the second


class Client:
    """Keeps the last session, as a browser does."""

    def __init__(self, weir, versions, name=NAME, address=None, **how):
        self.weir, self.name, self.address = weir, name, address or weir.address
        self.context, self.session = context(versions=versions, **how), None

    def visit(self, address=None, name=None):
        """Whether it was resumed."""
        name = name or self.name
        c = connect(address or self.address, name, client=self.context, session=self.session)
        r = c.ask(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n")
        assert r.status == 200, r
        c.rest()                        # tickets of TLS 1.3 came before
        assert c.session.has_ticket
        self.session = c.session
        c.close()
        return c.resumed

    def visits(self, n=TIMES):
        return [self.visit() for _ in range(n)]


def test_over_all_workers():
    weir = serve(make(NAME), workers=4)
    for versions in VERSIONS:
        assert Client(weir, versions).visits(TIMES + 1) == [False] + TIMES * [True]
    stats = weir.wait_stats(lambda s: s.get('weir_tls_handshakes_total{result="resumed"}') == 2 * TIMES
                            and s['weir_tls_handshakes_total{result="full"}'] == 2)
    served = [k for k, v in stats.items() if k.startswith("weir_worker_requests_total{") and '"2xx"' in k and v]
    assert len(served) > 1, f"all of it came to one worker: {served}"


def test_openssl():
    weir = serve(make(NAME), make(NAME, key="rsa"), workers=4)
    out, status = s_client(weir.address, "-reconnect", "-tls1_2", name=NAME)
    assert status == 0 and len(re.findall("^Reused, TLSv1.2", out, re.M)) == 5, out
    session = f"{plain.temp_dir()}/session"
    data = GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
    s_client(weir.address, "-sess_out", session, name=NAME, data=data)
    for _ in range(TIMES):
        out, _ = s_client(weir.address, "-sess_in", session, "-sess_out", session, name=NAME, data=data)
        assert "Reused, TLSv1.3" in out and "\nok" in out, out


def test_the_same_ticket_again_and_again():
    """With TLS 1.3 too: that a ticket is used once is for the client to see to."""
    weir = serve(make(NAME), workers=4)
    for versions in VERSIONS:
        client = Client(weir, versions)
        client.visit()
        session = client.session
        for _ in range(TIMES):
            client.session = session
            assert client.visit()


def test_each_visit_brings_home_another_ticket():
    """Of TLS 1.3: RFC 8446 C.4 has each used once."""
    client = Client(serve(make(NAME), workers=4), ("1.3", "1.3"))
    tickets = set()
    for _ in range(TIMES):
        client.visit()
        tickets.add(client.session.id)
    assert len(tickets) == TIMES, f"{len(tickets)} tickets in {TIMES} visits"


def test_after_a_reload():
    weir = serve(make(NAME), workers=4)
    clients = [Client(weir, v) for v in VERSIONS]
    for _ in range(3):
        for client in clients:
            client.visit()
        weir.reload()
        assert all(client.visit() for client in clients for _ in range(6))


def test_after_an_upgrade():
    port = free_port()
    weir = Daemon(f"listen: [{tls.listener(port, make(NAME))}]\n"
                  'sites: [{hosts: ["*"], routes: [{respond: {status: 200, body: "ok"}}]}]\n', workers=4)
    weir.address = ("127.0.0.1", port)
    clients = [Client(weir, v) for v in VERSIONS]
    for _ in range(2):
        for client in clients:
            client.visit()
        weir.upgrade()
        assert all(client.visit() for client in clients for _ in range(6))


def two(one, other):
    """Listeners that differ in that; returns weir and their addresses."""
    origin, ports = Origin(), [free_port(), free_port()]
    weir = start(f"""
listen: [{tls.listener(ports[0], *one[0], **one[1])}, {tls.listener(ports[1], *other[0], **other[1])}]
upstreams: {{app: {{servers: ["{origin.address}"]}}}}
sites: [{{hosts: ["*"], routes: [{{proxy: app}}]}}]
""")
    return weir, [("127.0.0.1", p) for p in ports]


def test_other_rules_for_clients():
    certificate, me, ca = make(NAME), make(client=True, subject="/CN=me"), tls.authority().cert
    both = f"{plain.temp_dir()}/both"
    with open(both, "w", encoding="ascii") as f:
        for c in tls.authority(), tls.authority("other"):
            with open(c.cert, encoding="ascii") as one:
                f.write(one.read())
    none, optional, require = {}, {"client_ca": ca, "client_verify": "optional"}, {
        "client_ca": ca, "client_verify": "require"}
    for one, other in [(none, optional), (none, require), (optional, require), (require, optional),
                       (require, {"client_ca": both, "client_verify": "require"})]:
        weir, addresses = two(([certificate], one), ([certificate], other))
        for versions in VERSIONS:
            client = Client(weir, versions, address=addresses[0], cert=me)
            assert client.visits(3) == [False, True, True]
            assert not client.visit(addresses[1]), f"a session of {one} was resumed at {other}"


def test_another_certificate():
    weir, addresses = two(([make(NAME, fresh=1)], {}), ([make(NAME, fresh=2)], {}))
    for versions in VERSIONS:
        client = Client(weir, versions, address=addresses[0])
        assert client.visits(2) == [False, True]
        assert not client.visit(addresses[1])


def test_another_name():
    weir = serve(make("a.example.com", "b.example.com"), make("c.example.com"))
    for versions in VERSIONS:
        client = Client(weir, versions, "a.example.com")
        for name in "b.example.com", "c.example.com":
            assert client.visits(2)[1]
            assert not client.visit(name=name)
            client.session = None


def test_a_reload_that_changes_the_rules():
    """Who was let in without a certificate has to show one from then on."""
    me, port = make(client=True, subject="/CN=me"), free_port()

    def text(**rules):
        return (f"listen: [{tls.listener(port, make(NAME), **rules)}]\n"
                'sites: [{hosts: ["*"], routes: [{respond: {status: 200, body: "ok"}}]}]\n')
    weir = start(text())
    weir.address = ("127.0.0.1", port)
    clients = [(Client(weir, v), Client(weir, v, cert=me)) for v in VERSIONS]
    for stranger, known in clients:
        assert stranger.visits(2) == known.visits(2) == [False, True]
    weir.reload(text(client_ca=tls.authority().cert, client_verify="require"))
    for stranger, known in clients:
        assert not known.visit() and known.visit()
        assert tls.refused(lambda c=stranger: connect(weir.address, NAME, client=c.context, session=c.session))


def test_what_is_known_of_a_client_is_resumed():
    weir = serve(make(NAME), client_ca=tls.authority().cert, client_verify="require", workers=2)
    for versions in VERSIONS:
        client = Client(weir, versions, cert=make(client=True, subject="/O=Weir/CN=me"))
        client.visit()
        c = connect(weir.address, NAME, client=client.context, session=client.session)
        said = facts(weir, c)
        assert c.resumed
        assert said[2:5] == [NAME, "SUCCESS", "CN=me,O=Weir"], said


def test_a_forged_ticket():
    """Is none: the handshake is a full one."""
    weir = serve(make(NAME))
    session = f"{plain.temp_dir()}/session"
    s_client(weir.address, "-tls1_2", "-sess_out", session, name=NAME)
    other = serve(make(NAME))           # has keys of its own
    out, status = s_client(other.address, "-tls1_2", "-sess_in", session, name=NAME)
    assert status == 0 and "New, TLSv1.2" in out, out


if __name__ == "__main__":
    run()
