// Asks once on Node's http, with `TE: trailers` unless told otherwise, and says in JSON what came.
'use strict';

const http = require('node:http');

const [url, ...wanted] = process.argv.slice(2);
const headers = wanted.includes('plain') ? {} : { TE: 'trailers', Connection: 'TE' };

const request = http.request(url, { headers, agent: false }, (response) => {
  let body = '';
  response.setEncoding('utf8');
  response.on('data', (data) => (body += data));
  response.on('end', () => {
    const { statusCode: status, rawTrailers: trailers, complete } = response;
    process.stdout.write(JSON.stringify({ status, body, trailers, complete }) + '\n');
  });
});
request.end();
