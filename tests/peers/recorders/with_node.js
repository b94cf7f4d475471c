// Node's HTTP server on the port it is told: each request it is given is a line on stdout.
"use strict";

const http = require("node:http");

const server = http.createServer((request, response) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    const seen = {
      id: request.headers["x-request-id"] || "",
      method: request.method,
      target: request.url,
      body: Buffer.concat(pieces).toString(),
    };
    console.log(JSON.stringify(seen));
    response.end("seen");
  });
});
server.listen(Number(process.argv[3]), process.argv[2]);
