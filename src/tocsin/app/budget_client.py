"""Asks a server for the budgets that it keeps, and for leases of them."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from typing import Final, TypeVar

import msgspec

from tocsin.app.http_link import HttpLink, Request, Response, Target, parse_target
from tocsin.app.instance import instance_id
from tocsin.app.worker import left_s
from tocsin.clock import SYSTEM_CLOCK, Clock
from tocsin.errors import ConfigError, QueryError
from tocsin.guard.account import Ledger
from tocsin.guard.budget_account import BudgetRoom
from tocsin.guard.budgets import Budget
from tocsin.guard.leased_room import LeasedRoom
from tocsin.guard.leases import Claim, Grant
from tocsin.guard.wire import (
    BUDGETS_PATH,
    LEASES_PATH,
    BudgetsDocument,
    LeaseEntry,
    LeaseRequest,
    LeasesDocument,
)
from tocsin.meters import catalogue as m
from tocsin.meters.registry import Readings

__all__ = ["BudgetClient", "budget_server"]

logger = logging.getLogger(__name__)

TICK_S: Final = 0.25
"""How often leases are looked at while nobody lacks anything."""
REFRESH_S: Final = 60.0
"""How often the server is asked what budgets there are."""
TIMEOUT_S: Final = 3.0
MAX_DELAY_S: Final = 2.0
FIRST_DELAY_S: Final = 0.1
MAX_ANSWER: Final = 4 << 20
MAX_EXPIRY_S: Final = 86_400.0
MAX_WARNINGS: Final = 100
JSON: Final = {"Content-Type": "application/json"}

Add = Callable[[Sequence[Budget], Mapping[str, BudgetRoom]], None]
"""Keeps budgets from now on, each with its room."""


Document = TypeVar("Document")


class AwayError(Exception):
    """The server gave no answer that is of use; the message says why."""


def budget_server(url: object) -> Target:
    """Read the address of a server that keeps budgets. Raises ConfigError."""
    return parse_target(url, setting="budgets_from", example="http://HOST:8001")


class BudgetClient:
    """Keeps leases up to date from a thread of its own; never raises, and nobody waits for it.

    add: is told of budgets that are new, or have other amounts. ledger: its lock is around all that
    rooms know.
    """

    def __init__(
        self,
        target: Target,
        headers: Mapping[str, str],
        add: Add,
        ledger: Ledger,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._target = target
        self._headers = dict(headers)
        self._add = add
        self._ledger = ledger
        self._clock = clock
        self._rooms: dict[str, LeasedRoom] = {}
        self._warned: set[str] = set()
        self._link = HttpLink(target, self._headers)
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._known = threading.Event()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._worker = instance_id()
        self._seq = 0
        self._failures = self.failures = 0
        self._refresh_at_s = 0.0
        self._try_at_s = 0.0

    def totals(self) -> Readings:
        """Metrics of this client."""
        unchecked = sum(room.unchecked for room in self._rooms.values())
        return {
            (m.STOP_UNCHECKED, ("no_server",)): unchecked,
            (m.LEASE_FAILURES, ()): self.failures,
        }

    def start(self, timeout_s: float = 0.0) -> bool:
        """Begin to ask; wait for the server to tell its budgets, and say whether it has."""
        self._wake()
        return self._known.wait(timeout_s)

    def tick(self) -> None:
        """End a request that takes too long."""
        self._link.abort_late(time.monotonic())

    def close(self, deadline_s: float) -> None:
        """Report what was used and give back what was not, until a deadline."""
        self._closing = True
        self._news.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(left_s(deadline_s))

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child, as another worker: leases are the parent's."""
        self._link.forget()
        self._link = HttpLink(self._target, self._headers)
        self._forget()
        for room in self._rooms.values():
            room.forget(self._worker)

    def _wake(self) -> None:
        """Have the thread look now; start it if this process has none."""
        if not self._news.is_set():
            self._news.set()
        if self._thread is None and not self._closing:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="tocsin-budgets", daemon=True)
            with contextlib.suppress(RuntimeError):  # the interpreter is shutting down
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        try:
            while not self._closing:
                self._news.wait(TICK_S)
                self._news.clear()
                self._step()
            self._try_at_s = 0.0
            self._step()
        finally:
            self._link.close()
            self._thread = None  # however this thread ends, the next call starts another

    def _step(self) -> None:
        """Ask what there is to ask, unless the server has just failed."""
        if time.monotonic() < self._try_at_s:
            time.sleep(min(FIRST_DELAY_S, left_s(self._try_at_s)))
            return
        try:
            if time.monotonic() >= self._refresh_at_s:
                self._learn()
            self._lease()
            if self._failures:
                logger.warning("%s tells of budgets again", self._target)
            self._failures = 0
        except AwayError as error:
            self._note(str(error))
        except Exception:
            logger.exception("budgets could not be asked for; trying again")
            self._note("it failed here")

    def _note(self, reason: str) -> None:
        if not self._failures:
            logger.warning("%s does not tell of budgets: %s", self._target, reason)
        self._failures += 1
        self.failures += 1
        delay_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** min(self._failures - 1, 10))
        self._try_at_s = time.monotonic() + delay_s

    def _learn(self) -> None:
        """Ask what budgets there are; keep what is new of them."""
        document = self._ask(Request("GET", self._target.path + BUDGETS_PATH), BudgetsDocument)
        budgets = self._read(document)
        names = {described.name for described in document.budgets}
        new = {
            budget.name: LeasedRoom(budget, self._worker, self._clock, self._wake)
            for budget in budgets
            if budget.name not in self._rooms
        }
        with self._ledger.lock:
            for budget in budgets:
                if budget.name in self._rooms:
                    self._rooms[budget.name].budget = budget
            for name, room in self._rooms.items():
                room.is_gone = name not in names
        self._rooms = self._rooms | new
        if budgets:
            self._add(budgets, {budget.name: self._rooms[budget.name] for budget in budgets})
        self._refresh_at_s = time.monotonic() + REFRESH_S
        self._known.set()

    def _read(self, document: BudgetsDocument) -> list[Budget]:
        """Read budgets that are not kept already as they are described."""
        found = []
        for described in document.budgets:
            room = self._rooms.get(described.name)
            try:
                budget = described.budget()
            except ConfigError as error:
                self._warn(f"{error}; it is not kept here")
                continue
            if room is None or (budget != room.budget and room.budget.counts_like(budget)):
                found.append(budget)
            elif budget != room.budget:
                self._warn(
                    f"budget {budget.name!r} covers something else now: start again for that"
                )
        return found

    def _warn(self, text: str) -> None:
        """Say something once."""
        if text not in self._warned and len(self._warned) < MAX_WARNINGS:
            self._warned.add(text)
            logger.warning("%s: %s", self._target, text)

    def _lease(self) -> None:
        """Ask for all leases that are due, in one request."""
        asked_ns = self._clock.monotonic_ns()
        rooms = [room for room in list(self._rooms.values()) if not room.is_gone]
        with self._ledger.lock:
            self._seq += 1
            asked = [
                (room, claim)
                for room in rooms
                for claim in room.claims(self._seq, asked_ns, is_last=self._closing)
            ]
        if not asked:
            return
        try:
            grants, expiry_s = self._post([claim for _, claim in asked])
        except AwayError:
            with self._ledger.lock:
                for room, claim in asked:
                    room.missed(claim)
            raise
        with self._ledger.lock:
            now_ns = self._clock.monotonic_ns()
            for (room, claim), grant in zip(asked, grants, strict=True):
                room.heard(claim, grant, asked_ns=asked_ns, expiry_s=expiry_s, now_ns=now_ns)

    def _post(self, claims: Sequence[Claim]) -> tuple[list[Grant], float]:
        """Ask for leases; return what is granted, and for how many seconds."""
        request = LeaseRequest(
            worker=self._worker, seq=self._seq, budgets=[LeaseEntry.of(claim) for claim in claims]
        )
        path, body = self._target.path + LEASES_PATH, msgspec.json.encode(request)
        answer = self._ask(Request("POST", path, body, JSON), LeasesDocument)
        asked = [(entry.budget, entry.period) for entry in request.budgets]
        if asked != [(lease.budget, lease.period) for lease in answer.budgets]:
            raise AwayError("it answers what was not asked")
        if not 0 < answer.expires_s < MAX_EXPIRY_S:
            raise AwayError(f"leases end after {answer.expires_s:g} s")
        try:
            return [lease.grant() for lease in answer.budgets], answer.expires_s
        except QueryError as error:
            raise AwayError(f"its answer makes no sense: {error}") from error

    def _ask(self, request: Request, kind: type[Document]) -> Document:
        try:
            response = self._link.ask(request, MAX_ANSWER, TIMEOUT_S)
        except (OSError, HTTPException) as error:
            raise AwayError(f"{type(error).__name__}: {error}") from error
        if response.status != 200:
            self._refresh_at_s = 0.0  # perhaps there are other budgets by now
            raise AwayError(f"it answers {response.status}: {_reason(response)}")
        try:
            return msgspec.json.decode(response.content, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise AwayError(f"its answer is of another kind ({error})") from error


def _reason(response: Response) -> str:
    return response.content[:300].decode("utf-8", "replace")
