// A gRPC client that makes the calls of calls.proto and looks at what comes. Arguments: calls.proto, ADDRESS:PORT, a CA
// to trust or - for none, and which tests to run, one after the other on one channel. Prints "ok NAME" or why not.
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const readline = require('readline');

const [proto, address, ca, ...names] = process.argv.slice(2);
const { Calls } = grpc.loadPackageDefinition(loader.loadSync(proto, { defaults: true })).weir.test;
const { status } = grpc;
const credentials = ca === '-' ? grpc.credentials.createInsecure() : grpc.credentials.createSsl(fs.readFileSync(ca));

function open(options) {
  return new Calls(address, credentials, {
    'grpc.max_receive_message_length': 64 << 20, 'grpc.max_send_message_length': 64 << 20,
    'grpc.ssl_target_name_override': 'grpc.example.com', 'grpc.default_authority': 'grpc.example.com',
    'grpc.use_local_subchannel_pool': 1, ...options });
}

const client = open({});

function unary(method, message, { on = client, metadata = new grpc.Metadata(), deadline } = {}) {
  return new Promise((resolve, reject) => {
    let initial, reply;
    const call = on[method](message, metadata, { deadline }, (error, value) => {
      if (error) reject(error); else reply = value;
    });
    call.on('metadata', m => { initial = m; });
    call.on('status', s => { if (s.code === status.OK) setImmediate(() => resolve({ reply, initial, status: s })); });
  });
}

async function fails(promise, code) {
  const error = await promise.then(() => null, e => e);
  assert(error, 'it did not fail');
  assert.strictEqual(error.code, code, error.message);
  return error;
}

// How a streaming call ends.
function ended(call) {
  return new Promise(resolve => { call.on('status', resolve); call.on('error', () => {}); });
}

function next(call) {
  return new Promise((resolve, reject) => {
    const off = () => { call.off('data', data); call.off('error', failed); };
    const data = m => { off(); resolve(m); };
    const failed = e => { off(); reject(e); };
    call.on('data', data);
    call.on('error', failed);
  });
}

async function until(condition, what) {
  const end = Date.now() + 30000;
  while (!await condition()) {
    assert(Date.now() < end, `waited for ${what}`);
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}

let last = 0;
const fresh = () => `${process.pid}-${++last}`;
const cancelled = id => until(async () => (await unary('Seen', { text: id })).reply.text === 'cancelled',
  'the server to see that it was cancelled');
const bytes = n => crypto.randomBytes(n);
const digest = data => crypto.createHash('sha256').update(data).digest();

function exchange(call, n) {
  const answer = next(call);
  call.write({ n });
  return answer.then(m => assert.strictEqual(m.n, n));
}

const tests = {
  async unary() {
    const { reply } = await unary('Echo', { text: 'hällo', n: 7, data: Buffer.from([0, 1, 255]) });
    assert.deepStrictEqual([reply.text, reply.n, [...reply.data]], ['hällo', 7, [0, 1, 255]]);
    assert.strictEqual((await unary('Echo', {})).reply.text, '');
  },

  async metadata() {
    const metadata = new grpc.Metadata();
    const [here, there] = [bytes(100), bytes(3)];
    metadata.add('x-text', 'one');
    metadata.add('x-text', 'two');
    metadata.add('x-data-bin', here);
    metadata.add('x-trailing', 'last');
    metadata.add('x-trailing-bin', there);
    const got = await unary('Echo', { n: 1 }, { metadata });
    assert.strictEqual(got.initial.get('x-text').join(', '), 'one, two');
    assert.deepStrictEqual(got.initial.get('x-data-bin'), [here]);
    assert.deepStrictEqual(got.status.metadata.get('x-trailing'), ['last']);
    assert.deepStrictEqual(got.status.metadata.get('x-trailing-bin'), [there]);
    assert.deepStrictEqual(got.initial.get('x-trailing'), []);
  },

  async error() {
    for (const code of [status.NOT_FOUND, status.FAILED_PRECONDITION, status.INTERNAL, status.UNAUTHENTICATED]) {
      const error = await fails(unary('Fail', { n: code, text: 'naïve: 100 %\n' }), code);
      assert.strictEqual(error.details, 'naïve: 100 %\n');
      assert.deepStrictEqual(error.metadata.get('x-why'), ['asked to']);
    }
  },

  async unimplemented() {
    const call = (resolve, reject) => client.makeUnaryRequest('/weir.test.Calls/None', v => v, v => v, Buffer.alloc(0),
      (e, v) => e ? reject(e) : resolve(v));
    await fails(new Promise(call), status.UNIMPLEMENTED);
  },

  async server_streaming() {
    const data = bytes(1000);
    const call = client.Many({ n: 2000, data });
    const end = ended(call);
    let n = 0;
    for await (const m of call) assert(m.n === n++ && m.data.equals(data), `message ${n}`);
    assert.strictEqual(n, 2000);
    assert.strictEqual((await end).code, status.OK);
  },

  async error_after_messages() {
    const call = client.Many({ n: 3, text: 'the rest is lost' });
    const end = ended(call);
    let n = 0;
    call.on('data', () => n++);
    const { code, details } = await end;
    assert.deepStrictEqual([n, code, details], [3, status.DATA_LOSS, 'the rest is lost']);
  },

  async client_streaming() {
    const data = bytes(5000);
    const got = new Promise((resolve, reject) => {
      const call = client.Sum((e, v) => e ? reject(e) : resolve(v));
      for (let i = 0; i < 400; i++) call.write({ n: 2, data });
      call.end();
    });
    const { n, data: sum } = await got;
    assert.strictEqual(n, 800);
    assert(sum.equals(digest(Buffer.concat(Array(400).fill(data)))));
  },

  // Each message is answered before the next is sent: nothing on the way waits for more.
  async bidirectional() {
    const call = client.Talk();
    const end = ended(call);
    for (let i = 1; i <= 100; i++) await exchange(call, i);
    call.end();
    call.resume();
    assert.strictEqual((await end).code, status.OK);
  },

  async large() {
    const data = bytes(5 << 20);
    assert((await unary('Echo', { data })).reply.data.equals(data));
    const call = client.Talk();
    const end = ended(call);
    for (let i = 0; i < 12; i++) call.write({ n: i, data: data.subarray(i, (1 << 20) + i) });
    call.end();
    let n = 0;
    for await (const m of call) {
      assert(m.n === n && m.data.equals(data.subarray(n, (1 << 20) + n)), `message ${n}`);
      n++;
    }
    assert.strictEqual(n, 12);
    assert.strictEqual((await end).code, status.OK);
  },

  async compressed() {
    const on = open({ 'grpc.default_compression_algorithm': grpc.compressionAlgorithms.gzip });
    const text = 'again '.repeat(10000);
    assert.strictEqual((await unary('Echo', { text }, { on })).reply.text, text);
    on.close();
  },

  async deadline() {
    const id = fresh();
    await unary('Echo', {});
    const began = Date.now();
    await fails(unary('Hang', { text: id }, { deadline: Date.now() + 700 }), status.DEADLINE_EXCEEDED);
    assert(Date.now() - began < 10000, 'late');
    await cancelled(id);
    const { n } = (await unary('Seen', { text: id })).reply;
    assert(n > 0 && n <= 700, `the server was told of ${n} ms`);
  },

  async deadline_while_streaming() {
    const id = fresh();
    const call = client.Drip({ text: id }, { deadline: Date.now() + 700 });
    const end = ended(call);
    let n = 0;
    call.on('data', () => n++);
    assert.strictEqual((await end).code, status.DEADLINE_EXCEEDED);
    assert(n > 0);
    await cancelled(id);
  },

  async cancel() {
    const id = fresh();
    const metadata = new grpc.Metadata();
    metadata.set('x-id', id);
    const talk = client.Talk(metadata);
    const talked = ended(talk);
    await exchange(talk, 1);
    talk.cancel();
    assert.strictEqual((await talked).code, status.CANCELLED);
    await cancelled(id);

    const other = fresh();
    const drip = client.Drip({ text: other });
    const dripped = ended(drip);
    await next(drip);
    drip.cancel();
    assert.strictEqual((await dripped).code, status.CANCELLED);
    await cancelled(other);

    const third = fresh();
    const call = client.Hang({ text: third }, () => {});
    await until(async () => (await unary('Seen', { text: third })).reply.text === 'open', 'the call');
    call.cancel();
    await cancelled(third);
  },

  async many_at_once() {
    const data = bytes(20000);
    const one = async i => {
      const { reply } = await unary('Echo', { n: i, data });
      assert(reply.n === i && reply.data.equals(data));
    };
    await Promise.all([...Array(300).keys()].map(one));
    const streams = [...Array(100).keys()].map(() => client.Talk());
    const ends = streams.map(ended);
    for (let i = 1; i <= 5; i++) await Promise.all(streams.map(s => exchange(s, i)));
    for (const s of streams) { s.end(); s.resume(); }
    for (const s of await Promise.all(ends)) assert.strictEqual(s.code, status.OK);
  },

  // Longer than each of the proxy's timeouts, but for `tunnel`.
  async idle() {
    const call = client.Talk();
    const end = ended(call);
    await exchange(call, 1);
    await new Promise(resolve => setTimeout(resolve, 2000));
    await exchange(call, 2);
    call.end();
    call.resume();
    assert.strictEqual((await end).code, status.OK);
  },

  async unavailable() {
    await fails(unary('Echo', {}), status.UNAVAILABLE);
  },

  // Says when a call is under way, and goes on with it when it is told to.
  async across() {
    const call = client.Talk();
    const end = ended(call);
    await exchange(call, 1);
    console.log('under way');
    await told();
    for (let i = 2; i < 20; i++) await exchange(call, i);
    await unary('Echo', {}, { metadata: new grpc.Metadata({ waitForReady: true }) });
    call.end();
    call.resume();
    assert.strictEqual((await end).code, status.OK);
  },

  // Calls without a pause, ten at once, until it is told to end: none may fail. What was refused was not processed (RFC
  // 9113 8.7): Node refuses calls by itself that it made just before it saw a GOAWAY, and grpc-js tries just once more.
  async steady() {
    let over = false, count = 0, refused = 0;
    const data = bytes(3000);
    const worker = async () => {
      while (!over) {
        const metadata = new grpc.Metadata({ waitForReady: true });
        const { reply } = await unary('Echo', { n: count, data }, { metadata }).catch(e => {
          if (e.details !== 'Stream refused by server' || ++refused > 20) throw e;
          return { reply: null };
        });
        assert(!reply || reply.data.equals(data));
        count += reply ? 1 : 0;
      }
    };
    const workers = Promise.all([...Array(10)].map(worker));
    workers.catch(() => {});
    await until(() => count > 100, 'some calls');
    console.log('under way');
    await told();
    over = true;
    await workers;
    console.log(`# ${count} calls, ${refused} refused`);
  },
};

// A line came.
function told() {
  return new Promise(resolve => {
    readline.createInterface({ input: process.stdin }).once('line', () => { process.stdin.destroy(); resolve(); });
  });
}

async function all() {
  for (const name of names) {
    try {
      await tests[name]();
      console.log(`ok ${name}`);
    } catch (e) {
      console.log(`not ok ${name}: ${e.stack}`);
    }
  }
  client.close();
  process.exit(0);
}

all();
