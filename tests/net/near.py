"""A post to devices in this process, which can do harm on the way."""

import contextlib
import itertools
import threading

from tiny_run import make_server

from trimwave.net.device import Device
from trimwave.net.host import opened
from trimwave.net.order import Events, Order
from trimwave.net.settings import Settings


class NearPost:
    """Letters to devices in this process, each answered in a thread of its own.

    `harm(node, letter, answer)` returns what arrives in place of an answer: another
    letter, a `Lost`, or None for nothing ever.
    """

    def __init__(self, devices, harm=lambda node, letter, answer: answer):
        self.devices, self.harm = dict(devices), harm
        self._answers, self._names = {}, itertools.count()
        # One at a time: an empty model is made by a patch of torch that is for all.
        self._work_alone = threading.Lock()
        self.sent = []

    def nodes(self):
        return {node: f"key of {node}" for node in self.devices}

    def send(self, node, letter, group):
        if node not in self.devices:
            raise ConnectionError(f"node {node} is not there")
        name = str(next(self._names))
        self.sent.append((node, letter))
        threading.Thread(target=self._work, args=(name, node, letter)).start()
        return name

    def _work(self, name, node, letter):
        with self._work_alone:
            answer = self.devices[node].answer(letter)
        self._answers[name] = self.harm(node, letter, answer)

    def reply(self, name):
        return self._answers.get(name)


def devices_in(folder, num_clients, **settings):
    """Return devices by node, named 0, 1, ..."""
    return {
        100 + k: Device(Settings(name=str(k), cache=folder / f"device-{k}", **settings))
        for k in range(num_clients)
    }


@contextlib.contextmanager
def served(bench, method, folder, post, **order):
    """Open a run's backend over a post; the server, and what was told."""
    server = make_server(bench, method)
    told = []

    class Told(Events):
        def tell(self, kind, value):
            told.append((kind, value))

    asked = Order(folder=str(folder), config=bench.config.to_dict(), **order)
    with opened(asked, post, Told(), server, bench) as backend:
        yield server, backend, told
