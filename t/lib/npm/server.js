// A gRPC server for calls.proto. Arguments: calls.proto, a port or 0, for how many ms it keeps a connection (0: for
// ever), and for TLS a certificate and its key. Prints its port.
'use strict';
const grpc = require('@grpc/grpc-js');
const crypto = require('crypto');
const fs = require('fs');
const loader = require('@grpc/proto-loader');

const [proto, at, age, cert, key] = process.argv.slice(2);
const { Calls } = grpc.loadPackageDefinition(loader.loadSync(proto, { defaults: true })).weir.test;
const seen = new Map();

function watch(call, text) {
  seen.set(text, { state: 'open', left: call.getDeadline() - Date.now() });
  call.on('cancelled', () => { seen.get(text).state = 'cancelled'; });
}

function copied(metadata, names) {
  const out = new grpc.Metadata();
  for (const name of names) for (const v of metadata.get(name)) out.add(name, v);
  return out;
}

const calls = {
  Echo(call, reply) {
    call.sendMetadata(copied(call.metadata, ['x-text', 'x-data-bin']));
    reply(null, call.request, copied(call.metadata, ['x-trailing', 'x-trailing-bin']));
  },
  Fail(call, reply) {
    const metadata = new grpc.Metadata();
    metadata.set('x-why', 'asked to');
    reply({ code: call.request.n, details: call.request.text, metadata });
  },
  Many(call) {
    const { n, text, data } = call.request;
    let i = 0;
    const more = () => {
      while (i < n) if (!call.write({ n: i++, data })) { call.once('drain', more); return; }
      if (!text) { call.end(); return; }
      call.emit('error', { code: grpc.status.DATA_LOSS, details: text, metadata: new grpc.Metadata() });
    };
    more();
  },
  Sum(call, reply) {
    const hash = crypto.createHash('sha256');
    let n = 0;
    call.on('data', m => { n += m.n; hash.update(m.data); });
    call.on('end', () => reply(null, { n, data: hash.digest() }));
  },
  Talk(call) {
    const id = call.metadata.get('x-id')[0];
    if (id) watch(call, id);
    call.on('data', m => { if (!call.write(m)) { call.pause(); call.once('drain', () => call.resume()); } });
    call.on('end', () => call.end());
    call.on('error', () => {});
  },
  Hang(call) { watch(call, call.request.text); },
  Drip(call) {
    watch(call, call.request.text);
    const timer = setInterval(() => call.write({ n: 1 }), 20);
    call.on('cancelled', () => clearInterval(timer));
  },
  Seen(call, reply) {
    const { state, left } = seen.get(call.request.text) || { state: '', left: 0 };
    reply(null, { text: state, n: Number.isFinite(left) ? left : 0 });
  },
};

const server = new grpc.Server({
  'grpc.max_receive_message_length': 64 << 20, 'grpc.max_send_message_length': 64 << 20,
  ...(Number(age) ? { 'grpc.max_connection_age_ms': Number(age) } : {}) });
server.addService(Calls.service, calls);
const credentials = cert ? grpc.ServerCredentials.createSsl(null,
  [{ cert_chain: fs.readFileSync(cert), private_key: fs.readFileSync(key) }]) : grpc.ServerCredentials.createInsecure();
server.bindAsync(`127.0.0.1:${at}`, credentials, (error, port) => {
  if (error) throw error;
  console.log(port);
});
