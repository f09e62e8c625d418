#!/usr/bin/python3
"""Chromium as the client: a page with many images over HTTP/2, what its scripts fetch, and a WebSocket."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import threading
import urllib.parse

import websockets

from lib import tls
from lib.weir import DEADLINE, Origin, Skip, cleanups, free_port, run, start, temp_dir, wait

IMAGES = 80
PAGE = b"""<!doctype html><html><head><title>t</title><link rel=stylesheet href=/style.css></head><body><script>
const told = {};
const loaded = new Promise(done => {
  let left = %d;
  for (let i = 0, n = left; i < n; i++) {
    const image = new Image();
    image.onload = () => { if (--left === 0) done(n); };
    image.src = `/image/${i}.svg`;
    document.body.append(image);
  }
});
async function upload() {
  const data = new Uint8Array(3 << 20).map((_, i) => i * 7);
  const got = new Uint8Array(await (await fetch('/echo', {method: 'POST', body: data})).arrayBuffer());
  return got.length === data.length && got.every((b, i) => b === data[i]);
}
function socket() {
  return new Promise(done => {
    const s = new WebSocket(`wss://${location.host}/chat`);
    const data = 'x'.repeat(100000);
    s.onopen = () => s.send(data);
    s.onmessage = m => { s.close(1000); s.onclose = e => done(m.data === data && e.code === 1000); };
    s.onerror = () => done('failed');
  });
}
(async () => {
  told.images = await loaded;
  told.style = getComputedStyle(document.body).color;
  told.upload = await upload();
  told.socket = await socket();
  told.protocols = [...new Set(performance.getEntriesByType('resource').map(e => e.nextHopProtocol))].join();
  await fetch('/told?' + new URLSearchParams(told));
})();
</script></body></html>""" % IMAGES
IMAGE = b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><!-- %s --><rect width="4" height="4"/></svg>'


def answer(_, request):
    path = request.target.partition("?")[0]
    if path == "/echo":
        kind, body = "application/octet-stream", request.body
    elif path.startswith("/image/"):
        kind, body = "image/svg+xml", IMAGE % (b"x" * 5000)
    elif path == "/style.css":
        kind, body = "text/css", b"body { color: rgb(1, 2, 3) }"
    else:
        kind, body = "text/html", PAGE
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nCache-Control: no-store\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def chats():
    """A WebSocket server that echoes, in a thread; its address."""
    loop, ready = asyncio.new_event_loop(), []

    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    async def main(stop):
        async with websockets.serve(echo, "127.0.0.1", 0) as server:
            ready.append((server.sockets[0].getsockname()[1], stop))
            await stop
    thread = threading.Thread(target=lambda: loop.run_until_complete(main(loop.create_future())), daemon=True)
    thread.start()
    port, stop = wait(lambda: ready, "a WebSocket server")[0]
    cleanups.append(lambda: (loop.call_soon_threadsafe(stop.set_result, None), thread.join(30)))
    return f"127.0.0.1:{port}"


def browse(url):
    binary = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if not binary:
        raise Skip("no chromium")
    folder = temp_dir()
    log = os.path.join(folder, "log")
    with open(log, "wb") as f:
        process = subprocess.Popen([
            binary, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server",
            "--disable-background-networking", "--disable-component-update", "--ignore-certificate-errors",
            f"--user-data-dir={folder}/data", "--remote-debugging-port=0", url],
            stdin=subprocess.DEVNULL, stdout=f, stderr=f, start_new_session=True)

    def stop():
        os.killpg(process.pid, signal.SIGKILL)      # a group of its own: its helpers, too
        process.wait()
    cleanups.append(stop)
    return log


def test_a_page():
    origin, certificate, port = Origin(answer), tls.make("localhost", "127.0.0.1"), free_port()
    log = os.path.join(temp_dir(), "log")
    weir = start(f"""
listen: [{tls.listener(port, certificate)}]
upstreams: {{app: {{servers: ["{origin.address}"]}}, chat: {{servers: ["{chats()}"]}}}}
sites: [{{hosts: ["*"], routes: [{{match: {{path: /chat}}, proxy: chat}}, {{proxy: app}}]}}]
access_log: {{path: {log}, format: "$protocol $method $path $status $tls_version"}}
""", workers=2)
    weir.access_log = log
    browser = browse(f"https://127.0.0.1:{port}/")

    def told():
        return [r for r in origin.requests if r.target.startswith("/told?")]
    try:
        # a browser that starts on a busy machine takes its time
        request = wait(told, "the page to tell what it saw", 4 * DEADLINE)[0]
    except AssertionError as e:
        asked = [r.target for r in origin.requests]
        raise AssertionError(f"{e}; it asked for {asked}; its log: {open(browser, errors='replace').read()}") from None
    said = dict(urllib.parse.parse_qsl(request.target.partition("?")[2]))
    assert said == {"images": str(IMAGES), "style": "rgb(1, 2, 3)", "upload": "true", "socket": "true",
                    "protocols": "h2"}, said
    lines = weir.access(IMAGES + 5)
    assert all(re.match(r"HTTP/2\.0 ", l) for l in lines), lines
    assert [l for l in lines if l.endswith("/chat 200 TLSv1.3")], lines
    assert request.get("X-Forwarded-Proto") == "https"


if __name__ == "__main__":
    run()
