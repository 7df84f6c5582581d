// Stands in for the package `ioredis` where it is not installed: the calls that lua/examples/consumer.mjs makes, over a socket.

import { connect } from "node:net";

export default class Redis {
  constructor(url) {
    const { hostname, port } = new URL(url);
    this.bytes = Buffer.alloc(0);
    this.socket = connect(Number(port || 6379), hostname);
    this.socket.on("data", (chunk) => {
      this.bytes = Buffer.concat([this.bytes, chunk]);
      for (let read; (read = reply(this.bytes, 0)); ) {
        this.bytes = this.bytes.subarray(read.end);
        if (read.value[0] === "pmessage") this.listener(...read.value.slice(1));
      }
    });
  }

  psubscribe(pattern) {
    this.socket.write(`*2\r\n$10\r\nPSUBSCRIBE\r\n$${Buffer.byteLength(pattern)}\r\n${pattern}\r\n`);
  }

  on(event, listener) {
    if (event === "pmessage") this.listener = listener;
  }
}

// The reply that starts at `at`, or undefined if it is not complete.
function reply(bytes, at) {
  const line_end = bytes.indexOf("\r\n", at);
  if (line_end < 0) return undefined;
  const kind = String.fromCharCode(bytes[at]);
  const number = Number(bytes.toString("utf8", at + 1, line_end));
  let end = line_end + 2;
  if (kind === ":") return { value: number, end };
  if (kind === "$") return bytes.length < end + number + 2 ? undefined : { value: bytes.toString("utf8", end, end + number), end: end + number + 2 };
  const value = [];
  for (let n = 0; n < number; n++) {
    const part = reply(bytes, end);
    if (!part) return undefined;
    value.push(part.value);
    end = part.end;
  }
  return { value, end };
}
