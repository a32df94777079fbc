"""What runs in threads beside the model: nothing is lost, and no more waits than is allowed."""

import threading

import pytest

from pagoda.beside import Behind, taken_ahead

PATIENCE = 30


def test_so_many_are_taken_ahead_and_no_more():
    taken = []

    def items():
        for number in range(9):
            taken.append(number)
            yield number

    ahead = taken_ahead(items(), by=3)
    assert next(ahead) == 0 and len(taken) <= 4
    assert list(ahead) == list(range(1, 9)) and taken == list(range(9))


def test_jobs_wait_for_each_other_up_to_a_number():
    go_on, done, last = threading.Event(), [], threading.Event()

    def take_four(behind):
        for number in range(3):
            behind.do(lambda number=number: (go_on.wait(PATIENCE), done.append(number)), waiting=3)
        last.set()  # three wait, and nobody was kept
        behind.do(lambda: done.append(3), waiting=3)

    with Behind() as behind:
        taker = threading.Thread(target=take_four, args=(behind,))
        taker.start()
        assert last.wait(PATIENCE) and done == []
        go_on.set()
        taker.join(PATIENCE)
    assert done == [0, 1, 2, 3]


def test_the_error_of_a_job_is_raised_by_one_of_the_next():
    def fails():
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"), Behind() as behind:
        behind.do(fails, waiting=2)
    with pytest.raises(OSError, match="the disk is full"), Behind() as behind:
        for _ in range(3):
            behind.do(fails, waiting=2)
