// Says something over wss:// with Node's `ws`, and in JSON what came back and how it ended.
'use strict';

const fs = require('node:fs');
const WebSocket = require('ws');

const [url, authority] = process.argv.slice(2);
const messages = ['Grüße', '', 'x'.repeat(300_000)];
const echoed = [];

const socket = new WebSocket(url, { ca: fs.readFileSync(authority) });
socket.on('open', () => socket.send(messages[0]));
socket.on('message', (data) => {
  echoed.push(data.toString() === messages[echoed.length]);
  if (echoed.length < messages.length) socket.send(messages[echoed.length]);
  else socket.close(1000);
});
socket.on('close', (code) => process.stdout.write(JSON.stringify([echoed, code]) + '\n'));
