// A WebSocket over HTTP/2 (RFC 8441) with Node's own client. Arguments: the URL of the server, its authority, and how
// many at once on one connection. Each sends messages to a server that echoes, and ends with a close. Prints "ok" or
// why not.
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const http2 = require('http2');

const [url, authority, count] = process.argv.slice(2);

// RFC 6455 5.2; a client masks what it sends.
function frame(opcode, data) {
  const mask = crypto.randomBytes(4);
  const n = data.length;
  const head = n < 126 ? Buffer.from([0x80 | opcode, 0x80 | n])
    : n < 65536 ? Buffer.from([0x80 | opcode, 0x80 | 126, n >> 8, n & 255])
      : Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | 127, 0, 0, 0, 0]),
        Buffer.from([n >>> 24, n >> 16 & 255, n >> 8 & 255, n & 255])]);
  return Buffer.concat([head, mask, data.map((b, i) => b ^ mask[i & 3])]);
}

class Socket {
  constructor(stream) {
    this.stream = stream;
    this.buffer = Buffer.alloc(0);
    this.wake = () => {};
    stream.on('data', d => { this.buffer = Buffer.concat([this.buffer, d]); this.wake(); });
    stream.on('end', () => { this.over = true; this.wake(); });
  }

  async read(n) {
    while (this.buffer.length < n) {
      assert(!this.over, 'the stream ended');
      await new Promise(resolve => { this.wake = resolve; });
    }
    const out = this.buffer.subarray(0, n);
    this.buffer = this.buffer.subarray(n);
    return out;
  }

  async ended() {
    while (!this.over) await new Promise(resolve => { this.wake = resolve; });
    assert.strictEqual(this.buffer.length, 0);
  }

  // The server may send a message in several frames.
  async message() {
    const parts = [];
    for (;;) {
      const [first, second] = await this.read(2);
      let n = second & 127;
      assert.strictEqual(second & 128, 0, 'a server does not mask');
      if (n === 126) n = (await this.read(2)).readUInt16BE(0);
      else if (n === 127) n = Number((await this.read(8)).readBigUInt64BE(0));
      parts.push(await this.read(n));
      if (first & 128) return [first & 15, Buffer.concat(parts)];
    }
  }
}

async function converse(session) {
  const stream = session.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': url.split(':')[0],
    ':path': '/chat?x=1', ':authority': authority, 'sec-websocket-version': '13', 'origin': 'https://example.com' });
  const headers = await new Promise((resolve, reject) => {
    stream.on('response', resolve);
    stream.on('error', reject);
  });
  assert.strictEqual(headers[':status'], 200);
  for (const name of ['connection', 'upgrade', 'sec-websocket-accept']) assert(!(name in headers), name);
  const socket = new Socket(stream);
  for (const data of [Buffer.from('hello'), Buffer.alloc(0), crypto.randomBytes(1 << 20), Buffer.alloc(65536)]) {
    stream.write(frame(2, data));
    const [opcode, got] = await socket.message();
    assert(opcode === 2 && got.equals(data), `${got.length} bytes of ${data.length}`);
  }
  stream.write(frame(9, Buffer.from('ping')));
  assert.deepStrictEqual((await socket.message()).map(String), ['10', 'ping']);
  stream.write(frame(8, Buffer.from([3, 232])));
  assert.strictEqual((await socket.message())[0], 8);
  stream.end();
  await socket.ended();
}

async function main() {
  const session = http2.connect(url, { rejectUnauthorized: false, servername: authority });
  const settings = await new Promise((resolve, reject) => {
    session.on('remoteSettings', resolve);
    session.on('error', reject);
  });
  assert(settings.enableConnectProtocol, 'SETTINGS_ENABLE_CONNECT_PROTOCOL');
  await Promise.all([...Array(Number(count))].map(() => converse(session)));
  session.close();
}

main().then(() => console.log('ok'), e => { console.log(e.stack); process.exit(1); });
