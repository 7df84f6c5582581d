// Prints every event of all servers. Only subscribes; the servers do not notice.
//
// Needs:  Node.js and `npm install ioredis`
// Run:    REALTIME_REDIS=redis://:password@10.0.0.5:6379 node consumer.mjs

import Redis from "ioredis";

const client = new Redis(process.env.REALTIME_REDIS ?? "redis://127.0.0.1:6379");
client.psubscribe("*"); // or "player:*", or client.subscribe("player:death")
client.on("pmessage", (pattern, channel, text) => {
  try {
    const data = JSON.parse(text);
    if (data instanceof Object) delete data._rt; // who sent it, and its number
    console.log(channel, data);
  } catch {
    // not an event of these servers
  }
});
