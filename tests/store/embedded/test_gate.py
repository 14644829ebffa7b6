import threading

from tocsin.store.embedded.gate import Gate


def test_one_alone_waits_for_those_inside() -> None:
    gate = Gate()
    order: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def read() -> None:
        with gate.shared():
            inside.set()
            leave.wait()
            order.append("read")

    def be_alone() -> None:
        with gate.alone(10) as are_gone:
            order.append(f"alone {are_gone}")

    threads = [threading.Thread(target=read), threading.Thread(target=be_alone)]
    threads[0].start()
    inside.wait()
    threads[1].start()
    leave.set()
    for thread in threads:
        thread.join()
    assert ["read", "alone True"] == order


def test_one_alone_gives_up_in_time_and_lets_others_in_again() -> None:
    gate = Gate()
    with gate.shared(), gate.alone(0.001) as are_gone:
        assert not are_gone
    with gate.shared():
        pass


def test_others_wait_for_one_alone() -> None:
    gate = Gate()
    entered = threading.Event()

    def read() -> None:
        with gate.shared():
            entered.set()

    reader = threading.Thread(target=read)
    with gate.alone(1) as are_gone:
        assert are_gone
        reader.start()
        assert not entered.wait(0.01)
    assert entered.wait(10)
    reader.join()
