"""LECO programs for the bench; the same ones load both systems.

leco.py coordinator NAMESPACE PORT [PEER]   pyleco's coordinator
leco.py actor PORT NAME                     pyleco's actor, which answers
leco.py ask PORT NAME TO SECONDS            pyleco's communicator, which asks
leco.py sink PORT NAME COUNT                takes plain messages
leco.py flood PORT NAME TO COUNT SIZE LEAD  sends them
"""

import json
import sys
import threading
import time

import zmq

HOST = "127.0.0.1"


def coordinator(namespace, port, *peers):
    from pyleco.coordinators.coordinator import Coordinator
    from pyleco.utils.coordinator_utils import ZmqMultiSocket

    class Loopback(ZmqMultiSocket):
        def bind(self, host=HOST, port=int(port)):
            super().bind(host=host, port=port)

    # Its cleaning run uses the socket from a second thread, which can end the
    # program under load: it is not due while the bench runs.
    with Coordinator(
        namespace=namespace, host=HOST, port=int(port), cleaning_interval=3600, multi_socket=Loopback(zmq.Context.instance())
    ) as c:
        c.routing(coordinators=list(peers))


def actor(port, name):
    from pyleco.actors.actor import Actor

    class Device:
        pass

    a = Actor(name=name, device_class=Device, host=HOST, port=int(port))
    a.connect()
    a.listen(threading.Event())


def ask(port, name, to, seconds):
    from pyleco.utils.communicator import Communicator

    c = Communicator(name=name, host=HOST, port=int(port), timeout=2)
    within(20, c.sign_in)
    within(20, lambda: c.ask_rpc(to, "pong"))  # until the other side is signed in and known
    took, lost = [], 0
    begin = time.perf_counter() + 1  # after warming up
    end = begin + float(seconds)
    while True:
        t0 = time.perf_counter()
        if t0 > end:
            break
        try:
            c.ask_rpc(to, "pong")
        except TimeoutError:
            lost += 1
            continue
        if t0 > begin:
            took.append(time.perf_counter() - t0)
    took.sort()
    ms = lambda q: 1000 * took[int(q * (len(took) - 1))]
    print(json.dumps({"rate": len(took) / float(seconds), "p50": ms(0.5), "p99": ms(0.99), "lost": lost}))
    c.close()


def within(seconds, f):
    end = time.monotonic() + seconds
    while True:
        try:
            return f()
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


class Dealer:
    """A component without a library: a DEALER socket that signs in."""

    def __init__(self, port, name):
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.connect("tcp://%s:%s" % (HOST, port))
        self.name = name.encode()
        request = b'{"id":1,"method":"sign_in","jsonrpc":"2.0"}'
        end = time.monotonic() + 20
        while True:
            self.socket.send_multipart([b"\0", b"COORDINATOR", self.name, header(1), request])
            while self.socket.poll(1000):
                frames = self.socket.recv_multipart()
                if len(frames) > 4 and json.loads(frames[4]).get("result", 0) is None:
                    self.name = frames[2].split(b".")[0] + b"." + self.name
                    return
            if time.monotonic() > end:
                raise TimeoutError("not signed in")

    def send(self, to, kind, payload):
        self.socket.send_multipart([b"\0", to, self.name, header(kind), payload])

    def receive(self, kind, timeout):
        """The next message of this kind, or None; anything else must not come."""
        if not self.socket.poll(timeout):
            return None
        frames = self.socket.recv_multipart()
        if frames[3][19] == kind:
            return frames
        raise RuntimeError("not delivered: %s" % frames[4:])


def header(kind):
    return b"\0" * 19 + bytes([kind])


PROBE, DATA, COUNT = 200, 201, 202


def sink(port, name, count):
    me = Dealer(port, name)
    count, got = int(count), 0
    recv = me.socket.recv_multipart
    while got < count:
        frames = recv()
        if frames[3][19] == DATA:
            got += 1
            if got % 100 and got != count:
                continue
        elif frames[3][19] != PROBE:
            continue
        me.send(frames[2], COUNT, b"%d" % got)
    me.socket.close(linger=5000)


def flood(port, name, to, count, size, lead):
    me = Dealer(port, name)
    to, count, lead = to.encode(), int(count), int(lead)
    frames = [b"\0", to, me.name, header(DATA), b"v" * int(size)]
    end = time.monotonic() + 20
    while True:
        me.send(to, PROBE, b"")
        try:
            if me.receive(COUNT, 500):
                break
        except RuntimeError:  # not known there yet
            time.sleep(0.05)
        if time.monotonic() > end:
            raise TimeoutError("nothing comes back")
    while me.socket.poll(200):  # of further probes
        me.socket.recv_multipart()
    send, sent, got = me.socket.send_multipart, 0, 0
    begin = time.perf_counter()
    while got < count:
        if sent < count and sent - got < lead:
            for _ in range(min(50, count - sent)):
                send(frames)
            sent += min(50, count - sent)
            timeout = 0
        else:
            timeout = 20000
        answer = me.receive(COUNT, timeout)
        if answer:
            got = int(answer[4])
        elif timeout:
            raise TimeoutError("%d of %d messages arrived" % (got, count))
    seconds = time.perf_counter() - begin
    print(json.dumps({"rate": count / seconds}))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
