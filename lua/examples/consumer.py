# Prints every event of all servers. Only subscribes; the servers do not notice.
#
# Needs:  Python 3 and `pip install redis`
# Run:    REALTIME_REDIS=redis://:password@10.0.0.5:6379 python3 consumer.py

import json
import os

import redis

client = redis.Redis.from_url(os.environ.get("REALTIME_REDIS", "redis://127.0.0.1:6379"))
events = client.pubsub(ignore_subscribe_messages=True)
events.psubscribe("*")  # or "player:*", or events.subscribe("player:death")
for message in events.listen():
    try:
        data = json.loads(message["data"])
    except ValueError:
        continue  # not an event of these servers
    if isinstance(data, dict):
        data.pop("_rt", None)  # who sent it, and its number
    print(message["channel"].decode(errors="replace"), data, flush=True)
