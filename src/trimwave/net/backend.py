"""The backend over a network: every client in a thread of its own; `roles.Backend`.

Of the server it needs `deliver`, `stage` and `emulator_version`. A round ends when all
have answered, or at its deadline with a quorum; who has not answered is planned without
until it is back.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load

from trimwave.base.errors import RunError
from trimwave.decision.plan import Plan, Scheme
from trimwave.lm.admit import admit
from trimwave.lm.aggregate import fewest_updates
from trimwave.lm.train.client import Update
from trimwave.lm.wire.small import unpacked
from trimwave.net.heard import fresh_rows_of, spent_of, whole, words
from trimwave.net.letter import Letter
from trimwave.net.members import Member
from trimwave.net.parcels import Packer, Parcel
from trimwave.net.post import Lost
from trimwave.net.roll import Roll
from trimwave.recipe.config import Config
from trimwave.recipe.seen import Seen
from trimwave.runs.roles import Exchange, Server

POLL_S = 0.2
"""Between two questions for an answer; Flower's own take seconds."""

ATTEMPTS = 3
"""Letters that a client is given in a round, if it goes away in between."""

OnClient = Callable[[int, int, int], None]


@dataclass
class _Answer:
    """What came of asking one client in a round."""

    update: Update | None = None
    why: str = ""
    """Why there is none."""
    timing: dict[str, Any] = field(default_factory=dict)


class NetBackend:
    """Runs plans on devices that are reached by letters."""

    def __init__(
        self,
        server: Server,
        roll: Roll,
        packer: Packer,
        config: Config,
        on_plan: Callable[[Plan, Mapping[int, Member]], None],
        on_client: OnClient,
    ) -> None:
        self._server, self._roll, self._packer = server, roll, packer
        self._config, self._net = config, config.net
        self._on_plan, self._on_client = on_plan, on_client

    def look(self) -> Seen:
        """Return who is there and what they measured; wait for one if nobody is."""
        return self._roll.seen()

    def begin_stage(self, scheme: Scheme) -> None:
        """Do nothing: every letter says which stage it is of."""

    def save(self, folder: Path) -> None:
        """Write nothing: devices keep what they need themselves."""

    def load(self, folder: Path) -> None:
        """Read nothing."""

    def exchange(self, plan: Plan, round_index: int) -> Exchange:
        """Send, wait, collect.

        Raises
        ------
        RunError
            If fewer answered than the quorum, or than the rule of aggregation takes.
        """
        asked = [k for k, one in enumerate(plan.submodels) if one is not None]
        parcels = self._packed(plan, asked)
        self._on_plan(plan, self._roll.members)
        ends_s = time.monotonic() + (self._net.deadline_s or float("inf"))
        answers: dict[int, _Answer] = {}
        done = threading.Lock()

        def ask(number: int) -> None:
            head = {
                **parcels[number].head,
                **self._held_to(plan, number),
                "op": "train",
                "stage": self._server.stage,
                "round": round_index,
                "number": number,
                "submodel": plan.submodels[number].to_dict(),  # type: ignore[union-attr]
            }
            answer = self._ask(number, head, parcels[number], ends_s)
            with done:
                answers[number] = answer
                self._on_client(number, len(answers) - 1, len(asked))

        with ThreadPoolExecutor(max(1, len(asked)), "ask") as pool:
            list(pool.map(ask, asked))
        return self._exchange(plan, parcels, answers, round_index)

    def _held_to(self, plan: Plan, number: int) -> dict[str, float]:
        """Return the speed that a device is to train at, if it is held to one."""
        compute_s = float(plan.compute_s[number])
        if not (self._net.pace_devices and compute_s > 0):
            return {}
        return {"speed_flops_per_s": float(plan.flops[number]) / compute_s}

    def _packed(self, plan: Plan, asked: list[int]) -> dict[int, Parcel]:
        version = self._server.emulator_version
        parcels = {}
        for k in asked:
            submodel = plan.submodels[k]
            assert submodel is not None
            delivery = self._server.deliver(submodel)
            parcels[k] = self._packer.parcel(k, submodel, delivery, version)
        self._packer.keep_only([*parcels.values()])
        return parcels

    def _ask(
        self, number: int, head: dict[str, Any], parcel: Parcel, ends_s: float
    ) -> _Answer:
        """Ask until there is an answer, the client is gone for good, or time is up."""
        started = reached_s = time.monotonic()
        why, attempts = "", 0
        while attempts < ATTEMPTS:
            member = self._roll.wait_for(number, ends_s)
            if member is None:
                return _Answer(why=why or "gone", timing={})
            node = member.node
            told = {"counted": member.counted, **self._roll.address(member)}
            letter = Letter({**head, **told}, parcel.body)
            try:
                name = self._roll.post.send(node, letter, str(head["round"]))
            except ConnectionError as error:
                # The roll is a look behind, as when the SuperLink was begun anew.
                why = str(error)
                if time.monotonic() >= min(ends_s, reached_s + self._net.absence_s):
                    break
                self._roll.lose(node)
                continue
            reached_s, attempts = time.monotonic(), attempts + 1
            found = self._answer_of(member.number, node, name, ends_s)
            if isinstance(found, Letter) and "error" not in found.head:
                now_s = time.monotonic()
                timing = {
                    **spent_of(found.head),
                    "asked_at_s": started,
                    "answered_at_s": now_s,
                    "answer_s": now_s - started,
                    "attempts": attempts,
                }
                return self._update(member, head, found, parcel.most_bytes, timing)
            if isinstance(found, Lost):
                why = found.why
                self._roll.lose(node)
            else:
                why = words(found.head["error"])
                if not self._roll.rejoin(member, found, ends_s):
                    return _Answer(why=why)
            if time.monotonic() >= ends_s:
                break
        return _Answer(why=why)

    def _answer_of(
        self, number: int, node: int, name: str, ends_s: float
    ) -> Letter | Lost:
        """Wait for the answer to a letter that was handed over."""
        try:
            while time.monotonic() < ends_s:
                answer = self._roll.post.reply(name)
                if answer is not None:
                    return answer
                if not self._roll.is_at(number, node):
                    return Lost("it went away")
                time.sleep(POLL_S)
        except ConnectionError as error:
            return Lost(str(error))
        return Lost(f"no answer within {self._net.deadline_s:g} s")

    def _update(
        self,
        member: Member,
        head: Mapping[str, Any],
        answer: Letter,
        most_bytes: int,
        timing: dict[str, Any],
    ) -> _Answer:
        """Read an answer, if it is one to what was asked, and no longer."""
        said = answer.head
        for name in ("run", "round", "number"):
            wanted = self._roll.run if name == "run" else head[name]
            if said.get(name) != wanted:
                other = words(repr(said.get(name)))
                why = f"it answered for {name} {other}, not {wanted!r}"
                return _Answer(why=why, timing=timing)
        if len(answer.body) > most_bytes:
            why = (
                f"its update has {len(answer.body)} bytes, what it was asked for at "
                f"most {most_bytes}"
            )
            return _Answer(why=why, timing=timing)
        try:
            update = Update(
                client=member.number,
                delta=unpacked(load(answer.body)),
                train_loss=float(said["train_loss"]),
                num_samples=whole(said["num_samples"]),
                fresh_rows=fresh_rows_of(said),
            )
        except (
            SafetensorError,
            KeyError,
            TypeError,
            ValueError,
            OverflowError,
        ) as error:
            why = f"its update cannot be read: {words(error)}"
            return _Answer(why=why, timing=timing)
        timing["up_bytes"] = len(answer.body)
        timing["memory_bytes"] = said.get("memory_bytes")
        return _Answer(update=update, timing=timing)

    def _exchange(
        self,
        plan: Plan,
        parcels: Mapping[int, Parcel],
        answers: Mapping[int, _Answer],
        round_index: int,
    ) -> Exchange:
        came = [answers[k].update for k in sorted(answers)]
        admitted = admit(
            [update for update in came if update is not None],
            {k: parcels[k].expected for k in parcels},
            num_samples={k: self._roll.num_samples(k) for k in parcels},
            norm_limit=self._config.aggregate.norm_limit or None,
        )
        missing = {k: one.why for k, one in answers.items() if one.update is None}
        missing |= admitted.refused
        counted = {update.client: update for update in admitted.updates}
        self._packer.arrived({k: parcels[k] for k in counted})
        timings = {k: one.timing for k, one in sorted(answers.items())}
        self._roll.note(round_index, plan, counted, missing, timings)
        needed, what = self._needed(len(answers))
        if len(counted) < needed:
            why = "; ".join(f"client {k}: {why}" for k, why in sorted(missing.items()))
            raise RunError(
                f"round {round_index}: {len(counted)} of {len(answers)} clients count, "
                f"and {what} asks for {needed} ({why or 'no more were there'}). The "
                "round is not saved, earlier ones are."
            )
        losses = [
            counted[k].train_loss if k in counted else None
            for k in range(plan.num_clients)
        ]
        fresh_rows = {k: one.fresh_rows for k, one in counted.items()}
        return Exchange(
            updates=[*counted.values()],
            train_loss=losses,
            missing=missing,
            fresh_rows=fresh_rows if self._config.train.keeps_states else {},
            speeds={"clients": {str(k): one for k, one in timings.items()}},
        )

    def _needed(self, num_asked: int) -> tuple[int, str]:
        """Return how many clients must count in a round, and which setting says so."""
        by_quorum = max(1, int(np.ceil(self._net.quorum * num_asked)))
        rule = self._config.aggregate
        by_rule = fewest_updates(rule)
        if by_rule > by_quorum:
            return by_rule, f"`aggregate.rule` = {rule.rule}"
        return by_quorum, f"`net.quorum` = {self._net.quorum:g}"
