# Stands in for the package `redis` where it is not installed: the calls that lua/examples/consumer.py makes, over a socket.

import socket
from urllib.parse import urlparse


class Redis:
    @classmethod
    def from_url(cls, url):
        client = cls()
        address = urlparse(url)
        client.stream = socket.create_connection((address.hostname, address.port or 6379)).makefile("rwb")
        return client

    def pubsub(self, ignore_subscribe_messages=False):
        assert ignore_subscribe_messages
        return self

    def psubscribe(self, pattern):
        self.stream.write(b"*2\r\n$10\r\nPSUBSCRIBE\r\n$%d\r\n%s\r\n" % (len(pattern), pattern.encode()))
        self.stream.flush()

    def _reply(self):
        line = self.stream.readline()[:-2]
        if line[:1] == b"*":
            return [self._reply() for _ in range(int(line[1:]))]
        if line[:1] == b"$":
            return self.stream.read(int(line[1:]) + 2)[:-2]
        assert line[:1] == b":", line
        return int(line[1:])

    def listen(self):
        while True:
            reply = self._reply()
            if reply[0] == b"pmessage":
                yield {"type": "pmessage", "pattern": reply[1], "channel": reply[2], "data": reply[3]}
