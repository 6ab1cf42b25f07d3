"""Who is in a run: nodes that come, join, go and come back.

One thread watches the nodes. Whoever is new gets the letter that a device joins by;
what it answers says which client it is. A client that was killed comes back as another
node.
"""

import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trimwave.base.errors import InputError, RunError, one_line
from trimwave.base.units import FloatArray
from trimwave.decision.plan import Plan
from trimwave.net.device import NOT_JOINED
from trimwave.net.heard import (
    PROFILE,
    number,
    profile_of,
    rates_of,
    rows_of,
    spent_of,
    words,
)
from trimwave.net.letter import Letter
from trimwave.net.members import Member, Seats
from trimwave.net.post import Lost, Post
from trimwave.recipe.net_section import NetConfig
from trimwave.recipe.seen import Seen

WATCH_S = 1.0
"""Between two looks at who is there."""

JOIN_S = 600.0
"""Longest that joining may take: the shell of the model may come over a slow link."""

AGAIN_S = 10.0
"""Until a node whose answer was lost is asked to join again."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where blobs are, and the token to have them by."""

    route: str
    urls: Sequence[str]
    grant: Callable[[str], str]
    """A token for a node."""

    def told(self, node: int) -> dict[str, Any]:
        """Return what a letter to a node says of it."""
        return {
            "route": self.route,
            "urls": [*self.urls],
            "token": self.grant(str(node)),
        }


@dataclass
class Roll:
    """The clients of a run; its thread ends with the process, or by `close`."""

    run: str
    """Which run this is: letters of another are not answered."""
    post: Post
    seats: Seats
    join: Mapping[str, Any]
    """What a device joins by."""
    where: Address
    net: NetConfig
    dealt: FloatArray
    """[K] rows that the recipe deals to each."""
    keyed: bool
    """Nodes prove who they are by keys, so that a name is bound to one."""
    say: Callable[[str], None]
    counted: Mapping[int, int] = field(default_factory=dict)
    """`Member.counted` of a run that goes on."""
    members: dict[int, Member] = field(default_factory=dict)
    _nodes: Mapping[int, str] = field(default_factory=dict)
    _joining: set[int] = field(default_factory=set)
    _not_before_s: dict[int, float] = field(default_factory=dict)
    """When a node that did not join is asked again."""
    _refused: dict[int, str] = field(default_factory=dict)
    """Why a node did not join, as of its last try."""
    _tokens: dict[int, dict[str, Any]] = field(default_factory=dict)
    _change: threading.Condition = field(default_factory=threading.Condition)
    _closed: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._watch, name="roll", daemon=True).start()

    def close(self) -> None:
        """Watch no more."""
        self._closed.set()

    def gather(self) -> None:
        """Wait for all clients.

        Raises
        ------
        RunError
            If fewer than a quorum came in time.
        """
        num_clients = self.dealt.size
        with self._change:
            self._change.wait_for(
                lambda: len(self.members) == num_clients, self.net.absence_s
            )
            there = sorted(self.members)
        if len(there) == num_clients:
            return
        absent = sorted({*range(num_clients)} - {*there})
        said = (
            f"{len(there)} of {num_clients} clients joined within "
            f"{self.net.absence_s:g} s (`net.absence_s`); missing: "
            f"{', '.join(map(str, absent[:8]))}"
        )
        if len(there) < max(1, self.net.quorum * num_clients):
            refused = [f"node {n} did not: {why}" for n, why in self._refused.items()]
            why = one_line("; ".join(refused), 600)
            said += f" ({why})" if why else ""
            raise RunError(f"{said}. Start them, and resume.")
        warnings.warn(f"{said}; the run goes on without them.", stacklevel=2)

    def address(self, member: Member) -> dict[str, Any]:
        """Return what every letter to a client says beside what it asks."""
        return {"run": self.run, **self._told(member.node)}

    def wait_for(self, number: int, ends_s: float) -> Member | None:
        """Return a client once it is there; None if it stays away too long."""
        until = min(ends_s, time.monotonic() + self.net.absence_s)
        with self._change:
            self._change.wait_for(
                lambda: self._is_there(number), max(0.0, until - time.monotonic())
            )
            return self.members[number] if self._is_there(number) else None

    def is_at(self, number: int, node: int) -> bool:
        """Whether a client is still reached at a node."""
        return self._is_there(number) and self.members[number].node == node

    def _is_there(self, number: int) -> bool:
        return number in self.members and self.members[number].node in self._nodes

    def lose(self, node: int) -> None:
        """Take a node for gone, until the next look finds it."""
        with self._change:
            self._nodes = {one: key for one, key in self._nodes.items() if one != node}

    def rejoin(self, member: Member, answer: Letter, ends_s: float) -> bool:
        """Have a device that lost what it was told join again; whether it is worth it.

        Any other error of its is one that asking again does not mend.
        """
        if NOT_JOINED not in str(answer.head.get("error")):
            return False
        self._join(member.node, self._nodes.get(member.node, ""), ends_s)
        return True

    def num_samples(self, number: int) -> int:
        """Return |D_k| as it is known."""
        own = self.members[number].num_samples
        return int(self.dealt[number]) if own is None else own

    def seen(self) -> Seen:
        """Return who is there and what they measured.

        Raises
        ------
        RunError
            If nobody is, and nobody comes back in time.
        """
        numbers = range(self.dealt.size)
        with self._change:
            if not self._change.wait_for(
                lambda: any(map(self._is_there, numbers)), self.net.absence_s
            ):
                raise RunError(
                    f"no client has been there for {self.net.absence_s:g} s "
                    "(`net.absence_s`). Start them, and resume."
                )
            there = np.array([self._is_there(k) for k in numbers])
            ready = there & ~np.array([bool(self._away(k)) for k in numbers])
        for member in self.members.values():
            member.away = ""  # asked again in the round after, if it is there
        if not ready.any():
            ready = there
        own = any(one.num_samples is not None for one in self.members.values())
        return Seen(
            ready=None if ready.all() else ready,
            fields=self._measured(),
            num_samples=np.array([float(self._samples(k)) for k in numbers])
            if own
            else None,
        )

    def _samples(self, number: int) -> int:
        return self.num_samples(number) if number in self.members else 1

    def _away(self, number: int) -> str:
        return self.members[number].away if number in self.members else "never came"

    def _measured(self) -> dict[str, FloatArray]:
        """Return what every client measured of what is planned from, over all.

        Who is absent is not planned with, and has the values of another.
        """
        found: dict[str, FloatArray] = {}
        if self.net.measured == "off":
            return found
        members = [*self.members.values()]
        names = set.intersection(*({*one.measured} for one in members))
        if self.net.measured == "devices":
            names &= {*PROFILE}
        for name in sorted(names):
            some = members[0].measured[name]
            found[name] = np.array(
                [
                    self.members[k].measured[name] if k in self.members else some
                    for k in range(self.dealt.size)
                ]
            )
        return found

    def note(
        self,
        round_index: int,
        plan: Plan,
        counted: Mapping[int, object],
        missing: Mapping[int, str],
        timings: Mapping[int, Mapping[str, Any]],
    ) -> None:
        """Take in what a round showed of the clients."""
        for k, why in missing.items():
            if k in self.members:
                self.members[k].away = why
        for k in counted:
            spent = timings[k]
            found = rates_of(spent)
            if spent["train_s"] > 0:
                found["speed_flops_per_s"] = float(plan.flops[k]) / spent["train_s"]
            if memory_bytes := number(spent["memory_bytes"]):
                found["memory_bytes"] = memory_bytes
            self.members[k].counted = round_index
            self.members[k].measure(found)

    def _told(self, node: int) -> dict[str, Any]:
        if node not in self._tokens:
            self._tokens[node] = self.where.told(node)
        return self._tokens[node]

    def _watch(self) -> None:
        while not self._closed.wait(WATCH_S):
            try:
                nodes = self.post.nodes()
            except Exception as error:  # the next look may succeed
                self.say(f"the SuperLink does not answer: {error}")
                continue
            with self._change:
                self._nodes = nodes
                self._change.notify_all()
            known = {member.node for member in self.members.values()}
            now_s = time.monotonic()
            for node in {*nodes} - known - self._joining:
                if self._not_before_s.get(node, now_s) > now_s:
                    continue
                self._joining.add(node)
                threading.Thread(
                    target=self._join, args=(node, nodes[node]), daemon=True
                ).start()

    def _join(self, node: int, key: str, ends_s: float = float("inf")) -> None:
        """Have a node join; refuse it if it is none of ours."""
        try:
            said = self._joined(node, ends_s).head
            if "error" in said:
                raise InputError(words(said["error"]))
            name, rows = words(said.get("name")), rows_of(said)
            found = {**profile_of(said), **rates_of(spent_of(said))}
            seat = self.seats.seat(name, key if self.keyed else "")
            with self._change:
                counted = self.counted.get(seat, 0)
                new = Member(seat, name, node, rows, counted=counted)
                member = self.members.setdefault(seat, new)
                if member.node != node:  # else two of one name take turns for ever
                    self._not_before_s[member.node] = float("inf")
                member.node, member.num_samples = node, rows
                member.measure(found)
                self._change.notify_all()
            self._refused.pop(node, None)
            self.say(f"client {seat} ({name}) joined")
        except (InputError, ConnectionError) as error:
            again_s = AGAIN_S if isinstance(error, ConnectionError) else float("inf")
            self._not_before_s[node] = time.monotonic() + again_s
            self._refused[node] = str(error)
            self.say(f"node {node} did not join: {error}")
        finally:
            self._joining.discard(node)

    def _joined(self, node: int, ends_s: float) -> Letter:
        head = {**self.join, "op": "join", "run": self.run, **self._told(node)}
        name = self.post.send(node, Letter(head), "join")
        ends_s = min(ends_s, time.monotonic() + JOIN_S)
        while time.monotonic() < ends_s:
            answer = self.post.reply(name)
            if isinstance(answer, Lost):
                raise ConnectionError(answer.why)
            if answer is not None:
                return answer
            time.sleep(WATCH_S / 2)
        raise ConnectionError("no answer in time")
