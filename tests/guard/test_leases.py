"""Leases: whatever is lost, repeated, overtaken or killed, the sum keeps to the limit."""

import copy
import random
from decimal import Decimal
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.clock import NOON_NS
from tocsin.guard.held_lease import HeldLease, Use
from tocsin.guard.leases import Ask, Claim, Grant, LeaseBook, Terms, TooManyWorkersError
from tocsin.guard.wire import LeaseDocument, LeaseEntry
from tocsin.model.lease import LeaseRow

D = Decimal
CAP: Final = D(100)
NS: Final = 1_000_000_000
TERMS: Final = Terms(expiry_s=10, grace_s=1)


def ask(worker: str = "a", seq: int = 1, *, used: int = 0, **amounts: int) -> Ask:
    """A request by a worker that holds whatever it was granted, unless said otherwise."""
    found: dict[str, Any] = {name: D(usd) for name, usd in ({"holds": 1000} | amounts).items()}
    return Ask(worker=worker, seq=seq, used=D(used), **found)


def book(**terms: Any) -> LeaseBook:
    return LeaseBook(CAP, msgspec.structs.replace(TERMS, **terms))


def written(leases: LeaseBook) -> list[LeaseRow]:
    """What is on disk after everything was written to an empty one."""
    return [row for row, is_gone in leases.take_changes() if not is_gone]


def test_grants_a_share_of_what_is_free() -> None:
    leases = book(share=D("0.25"))

    assert Grant(D(25), CAP) == leases.ask(ask("a", room=90), 0)
    assert D(75) / 4 == leases.ask(ask("b", room=90), 0).granted
    assert D(0) == leases.spent


def test_grants_no_more_than_is_asked_for() -> None:
    assert D(3) == book().ask(ask(room=3), 0).granted


def test_grants_what_one_call_needs_if_it_is_there() -> None:
    assert D(60) == book().ask(ask(need=60, room=60), 0).granted
    assert D(0) == book().ask(ask(need=101, room=101), 0).granted


def test_what_is_used_is_gone_and_what_is_not_comes_back_when_it_is_given_back() -> None:
    leases = book(share=D(1))
    leases.ask(ask("a", room=100), 0)

    assert D(0) == leases.ask(ask("b", room=10), 0).granted
    leases.ask(ask("a", 2, used=30, holds=30), 0)
    assert D(70) == leases.ask(ask("b", 2, room=100), 0).granted
    assert (D(30), D(70)) == (leases.spent, leases.leased)


def test_says_how_much_there_could_be_if_all_others_gave_back() -> None:
    leases = book(share=D(1))
    leases.ask(ask("a", used=20, room=80), 0)

    assert Grant(D(0), D(80)) == leases.ask(ask("b", need=1, room=1), 0)


def test_the_same_request_again_changes_nothing() -> None:
    leases = book()
    first = leases.ask(ask(used=1, room=5), 0)

    assert first == leases.ask(ask(used=1, room=5), 0)
    assert (D(1), D(5)) == (leases.spent, leases.leased)


def test_a_request_that_was_overtaken_changes_nothing() -> None:
    leases = book()
    leases.ask(ask(seq=3, used=5, room=5), 0)

    leases.ask(ask(seq=2, used=1, holds=0), 0)

    assert (D(5), D(5)) == (leases.spent, leases.leased)


def test_a_silent_worker_loses_its_lease_but_not_what_it_has_used() -> None:
    leases = book()
    leases.ask(ask(used=1, room=5), 0)

    leases.expire(11 * NS - 1)
    assert D(5) == leases.leased
    leases.expire(11 * NS)
    assert (D(1), D(0)) == (leases.spent, leases.leased)


def test_after_a_restart_leases_are_kept_for_their_whole_time() -> None:
    leases = book()
    leases.ask(ask(used=1, room=5), 0)
    again = book()
    again.restore(written(leases), now_ns=100 * NS)

    again.expire(110 * NS)
    assert (D(1), D(5)) == (again.spent, again.leased)
    again.expire(111 * NS)
    assert D(0) == again.leased


def test_spans_of_a_worker_count_only_beyond_what_it_has_reported() -> None:
    leases = book()
    leases.ask(ask(used=10, room=5), 0)

    leases.add_stored("a", D(8))
    assert D(10) == leases.spent
    leases.add_stored("a", D(6))
    assert (D(14), D(1)) == (leases.spent, leases.leased)
    leases.add_stored("", D(3))
    assert D(17) == leases.spent


def test_without_a_limit_it_only_counts() -> None:
    leases = LeaseBook(None)

    assert Grant(None, None) == leases.ask(ask(used=500, room=5), 0)
    assert (D(500), D(0)) == (leases.spent, leases.leased)


def test_workers_beyond_the_bound_are_forgotten_but_not_what_they_used() -> None:
    leases = book(max_workers=2)
    for number, worker in enumerate("abcd"):
        leases.ask(ask(worker, used=number + 1), number)

    assert 2 == leases.workers
    assert D(10) == leases.spent
    again = book(max_workers=2)
    again.restore(written(leases), 0)
    assert D(10) == again.spent


def test_refuses_a_worker_when_all_that_are_known_hold_leases() -> None:
    leases = book(max_workers=2)
    leases.ask(ask("a", room=1), 0)
    leases.ask(ask("b", room=1), 0)

    with pytest.raises(TooManyWorkersError):
        leases.ask(ask("c", room=1), 0)
    leases.ask(ask("c", room=1), 20 * NS)


def test_amounts_are_written_so_that_they_are_read_as_they_were() -> None:
    claim = Claim("all", NOON_NS, ask("w", 3, used=1, holds=2, need=3, room=4))
    assert claim == LeaseEntry.of(claim).claim("w", 3)
    grant = Grant(D("0.0000001"), D(5_000_000))
    read = LeaseDocument.of(LeaseEntry.of(claim), grant).grant()
    assert Grant(grant.granted, D("999999.999999999999")) == read


class Worker:
    """Spends only what its lease allows; calls take time."""

    def __init__(self, name: str) -> None:
        self.lease = HeldLease(name, random.Random(0))
        self.used = D(0)
        self.seq = 0
        self.calls: list[Decimal] = []
        """What each call in flight will cost."""
        self.outliving: list[Decimal] = []
        """Those that go on although the lease is over which they began under."""
        self.asked: tuple[Ask, int] | None = None

    @property
    def held(self) -> Decimal:
        return sum(self.calls + self.outliving, D(0))

    @property
    def use(self) -> Use:
        return Use(self.used, self.held)


class Network:
    """Workers and a server; messages are lost, repeated and late, and everything can die."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.now_ns = 0
        self.book = LeaseBook(CAP, TERMS)
        self.disk: dict[str, LeaseRow] = {}
        self.stored: dict[str, Decimal] = {}
        self.workers: list[Worker] = []
        self.requests: list[tuple[Worker, Ask, int]] = []
        self.answers: list[tuple[Worker, Ask, int, Grant]] = []
        self.used = D(0)
        self.excused = D(0)
        """What was used of leases that were given to others, because their worker was silent."""
        self.killed: dict[str, Worker] = {}
        self.started = 0
        self.actions = {
            self.start: 2,
            self.call: 20,
            self.end_call: 14,
            self.exchange: 10,
            self.send: 6,
            self.receive: 6,
            self.answer: 6,
            self.wait: 6,
            self.store_spans: 1,
            self.kill_server: 0.3,
            self.kill_worker: 0.1,
        }

    def run(self, steps: int) -> None:
        """Do what chance says, and look after each step whether the limit has held."""
        for action in self.dice.choices(list(self.actions), list(self.actions.values()), k=steps):
            action()
            assert self.used + self.possible() <= CAP + self.excused + self.outliving()
            self.check_sums()

    def start(self) -> None:
        if len(self.workers) < 4:
            self.started += 1
            self.workers.append(Worker(f"w{self.started}"))

    def call(self) -> None:
        if not self.workers:
            return
        worker, usd = self.dice.choice(self.workers), D(self.dice.randint(1, 1000)) / 100
        limit = worker.lease.limit(worker.use, self.now_ns)
        assert limit is not None
        if worker.used + worker.held + usd <= limit:
            worker.calls.append(usd)
        else:
            worker.lease.lacks(usd)

    def end_call(self) -> None:
        busy = [worker for worker in self.workers if worker.calls or worker.outliving]
        if not busy:
            return
        worker = self.dice.choice(busy)
        is_late = bool(worker.outliving)
        usd = (worker.outliving or worker.calls).pop(0)
        if self.dice.random() < 0.2:
            return  # it failed
        worker.used += usd
        self.used += usd
        self.excused += usd if is_late else 0

    def exchange(self) -> None:
        """A request and its answer, with nothing between them."""
        self.send()
        requests, self.requests = self.requests, self.requests[-1:]
        self.receive()
        self.requests = requests[:-1]
        self.answer()

    def send(self) -> None:
        if not self.workers:
            return
        worker = self.dice.choice(self.workers)
        if worker.asked is not None:
            worker.lease.missed()
            worker.asked = None
        worker.seq += 1
        made = worker.lease.ask(worker.use, worker.seq, self.now_ns)
        if made is not None:
            worker.asked = made, self.now_ns
            self.requests.append((worker, made, self.now_ns))

    def receive(self) -> None:
        """Any request, however late, perhaps once more; the server may die before it answers."""
        if not self.requests:
            return
        index = self.late(self.requests)
        worker, made, asked_ns = self.requests[index]
        if self.dice.random() < 0.8:
            del self.requests[index]
        grant = self.book.ask(made, self.now_ns)
        fate = self.dice.random()
        if fate > 0.05:
            self.write()
        if fate < 0.1:
            self.kill_server()
        elif fate < 0.9:
            self.answers.append((worker, made, asked_ns, grant))

    def answer(self) -> None:
        if not self.answers:
            return
        index = self.late(self.answers)
        worker, made, asked_ns, grant = self.answers[index]
        if self.dice.random() < 0.8:
            del self.answers[index]
        times: Any = {"asked_ns": asked_ns, "expiry_s": TERMS.expiry_s, "now_ns": self.now_ns}
        worker.lease.heard(made, grant, **times)
        if worker.asked is not None and worker.asked[0] is made:
            worker.asked = None

    def wait(self) -> None:
        self.now_ns += int(self.dice.choice([0.05] * 6 + [0.5] * 6 + [2, 9, 12]) * NS)
        before = set(self.book._holders)
        self.book.expire(self.now_ns)
        for name in before - set(self.book._holders):
            self.excused += self.unreported(name)
        for worker in self.workers:
            if worker.lease.limit(worker.use, self.now_ns) == worker.used:
                worker.outliving += worker.calls
                worker.calls = []

    def kill_server(self) -> None:
        self.book = LeaseBook(CAP, TERMS)
        self.book.restore(copy.deepcopy(list(self.disk.values())), self.now_ns)
        self.book.set_stored(self.stored)

    def kill_worker(self) -> None:
        """Its calls are paid for all the same; the server knows what it has reported."""
        if not self.workers:
            return
        worker = self.workers.pop(self.dice.randrange(len(self.workers)))
        self.used += worker.held
        worker.used += worker.held
        self.killed[worker.lease.worker] = worker
        if worker.lease.worker not in self.book._holders:
            self.excused += worker.held

    def store_spans(self) -> None:
        if not self.workers:
            return
        worker = self.dice.choice(self.workers)
        name = worker.lease.worker
        usd = worker.used - self.stored.get(name, D(0))
        if usd > 0 and name in self.disk:
            self.stored[name] = worker.used
            self.book.add_stored(name, usd)

    def late(self, messages: list[Any]) -> int:
        """Mostly the last one."""
        is_last = self.dice.random() < 0.7
        return len(messages) - 1 if is_last else self.dice.randrange(len(messages))

    def write(self) -> None:
        for row, is_gone in self.book.take_changes():
            assert not is_gone
            self.disk[row.worker] = row

    def unreported(self, name: str) -> Decimal:
        """What a worker used without the server knowing of it."""
        alive = {worker.lease.worker: worker for worker in self.workers}
        worker = alive.get(name) or self.killed[name]
        return max(D(0), worker.used - self.book._leases[name].spent)

    def possible(self) -> Decimal:
        """What workers may use beyond what they have used."""
        left = D(0)
        for worker in self.workers:
            limit = worker.lease.limit(worker.use, self.now_ns)
            assert limit is not None
            left += max(limit - worker.used, worker.held)
        return left

    def outliving(self) -> Decimal:
        """What calls have set aside whose worker's lease is over."""
        return sum((usd for worker in self.workers for usd in worker.outliving), D(0))

    def check_sums(self) -> None:
        leases = self.book._leases.values()
        assert sum((one.spent for one in leases), D(0)) + self.book._stored == self.book.spent
        assert sum((one.committed - one.spent for one in leases), D(0)) == self.book.leased
        assert {one.worker for one in leases if one.granted > one.used} == set(self.book._holders)


@settings(max_examples=500)
@given(st.integers(0, 1 << 32))
def test_honest_workers_keep_to_the_limit_together(seed: int) -> None:
    Network(seed).run(400)


def test_such_a_network_spends_most_of_what_it_may() -> None:
    spent = []
    for seed in range(20):
        network = Network(seed)
        network.run(400)
        spent.append(network.used)
    assert CAP / 2 < sum(spent) / len(spent)
