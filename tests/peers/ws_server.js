// An echo and plain HTTP server on Node's http and `ws`; messages that begin with "!" are orders (see `obey`).
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const { parseArgs } = require('node:util');
const { WebSocketServer } = require('ws');

const { values: options } = parseArgs({
  options: {
    name: { type: 'string', default: 'one' },
    port: { type: 'string', default: '0' },
    certificate: { type: 'string' },
    key: { type: 'string' },
  },
});

const PROTOCOLS = ['chat.v2', 'chat.v1'];
const CHUNK = Buffer.alloc(65536, Buffer.from(Array.from({ length: 256 }, (_, i) => i)));
const REFUSALS = {
  401: ['Unauthorized', 'who are you', ['WWW-Authenticate: Basic realm="peers"', 'X-Reason: no password']],
  403: ['Forbidden', 'not you', ['X-Reason: on the list']],
  426: ['Upgrade Required', 'speak 13', ['Sec-WebSocket-Version: 13', 'X-Reason: old']],
  302: ['Found', '', ['Location: /elsewhere?a=b', 'X-Reason: moved']],
};

function tell(event, fields) {
  process.stdout.write(JSON.stringify({ event, ...fields }) + '\n');
}

function obey(ws, order) {
  const [verb, first, ...rest] = order.split(' ');
  if (verb === '!who') ws.send(options.name);
  if (verb === '!close') ws.close(Number(first), rest.join(' '));
  if (verb === '!ping') ws.ping(first);
  if (verb === '!fragments') {
    ws.send('frag', { fin: false });
    ws.send('men', { fin: false });
    ws.send('ted', { fin: true });
  }
}

function hashBody(request, response) {
  const hash = crypto.createHash('sha256');
  let length = 0;
  request.on('data', (data) => {
    hash.update(data);
    length += data.length;
  });
  request.on('end', () => {
    const fields = Object.entries(request.headers);
    response.end(JSON.stringify({ sha256: hash.digest('hex'), length, fields }));
  });
}

async function sendBytes(request, response, query) {
  let count = Number(query.get('n'));
  if (!query.has('chunked')) response.setHeader('Content-Length', count);
  if (request.method === 'HEAD') return response.end();
  while (count > 0) {
    const part = CHUNK.subarray(0, count);
    count -= part.length;
    if (!response.write(part)) await new Promise((resolve) => response.once('drain', resolve));
  }
  return response.end();
}

function show(request, response) {
  const fields = [];
  for (let i = 0; i < request.rawHeaders.length; i += 2) fields.push(request.rawHeaders.slice(i, i + 2));
  response.setHeader('X-Server', options.name);
  response.end(JSON.stringify({ method: request.method, target: request.url, fields, name: options.name }));
}

function serve(request, response) {
  const { pathname, searchParams } = new URL(request.url, 'http://a.test');
  if (pathname === '/hash') return hashBody(request, response);
  if (pathname === '/bytes') return sendBytes(request, response, searchParams);
  if (pathname === '/cookies') {
    response.setHeader('Set-Cookie', ['a=1; Path=/', 'b=2, with comma', 'a=3']);
    return response.end('cookies');
  }
  if (pathname === '/trailers') {
    response.setHeader('Trailer', 'grpc-status, X-Sum');
    response.write('called');
    response.addTrailers([['grpc-status', '0'], ['X-Sum', 'a'], ['Set-Cookie', 'a=1'], ['X-Sum', 'b'], ['X-TE', request.headers.te ?? '']]);
    return response.end();
  }
  if (pathname.startsWith('/status/')) {
    response.writeHead(Number(pathname.slice(8)), { ETag: '"e"' });
    return response.end();
  }
  return show(request, response);
}

const server = options.certificate
  ? https.createServer({ cert: fs.readFileSync(options.certificate), key: fs.readFileSync(options.key) }, serve)
  : http.createServer(serve);

const sockets = new WebSocketServer({
  noServer: true,
  perMessageDeflate: true,
  maxPayload: 32 * 1024 * 1024,
  handleProtocols: (offered) => PROTOCOLS.find((name) => offered.has(name)) ?? false,
});

server.on('upgrade', (request, socket, head) => {
  if (request.url.startsWith('/refuse/')) {
    const status = request.url.slice(8);
    const [phrase, body, fields] = REFUSALS[status];
    const lines = [`HTTP/1.1 ${status} ${phrase}`, ...fields, `Content-Length: ${body.length}`, 'Connection: close'];
    return socket.end([...lines, '', body].join('\r\n'));
  }
  return sockets.handleUpgrade(request, socket, head, (ws) => sockets.emit('connection', ws, request));
});

sockets.on('connection', (ws, request) => {
  const extensions = ws.extensions ? ws.extensions.split(';').slice(0, 1) : [];
  tell('open', { path: request.url, subprotocol: ws.protocol || null, extensions });
  ws.on('error', () => {});
  ws.on('pong', (payload) => ws.send(`pong ${payload}`));
  ws.on('message', (data, binary) => {
    if (!binary && data.toString().startsWith('!')) obey(ws, data.toString());
    else ws.send(data, { binary });
  });
  ws.on('close', (code, reason) => tell('close', { path: request.url, code, reason: reason.toString() }));
});

server.listen(Number(options.port), '127.0.0.1', () => tell('listening', { port: server.address().port }));
