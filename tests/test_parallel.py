"""Blocks over threads: in order, and the process's BLAS threads are as before when all are done."""

from __future__ import annotations

import threading

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from gpulr.parallel import in_blocks, one_core_a_block, ordered


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def two_threads():
    with threadpool_limits(2, user_api="blas"):
        yield


def test_results_come_in_order():
    with one_core_a_block():
        assert list(ordered(lambda i: i * i, range(100))) == [i * i for i in range(100)]
    assert list(ordered(abs, [-1, -2])) == [1, 2]


def test_no_more_than_allowed_are_under_way():
    begun = []
    with one_core_a_block():
        ahead = [len(begun) - i for i in ordered(lambda i: begun.append(i) or i, range(20), 2)]
    assert max(ahead) <= 2
    assert begun == list(range(20))


def test_after_an_error_nothing_more_is_begun():
    begun = []
    slow = threading.Event()

    def work(i):
        begun.append(i)
        if i == 0:
            raise ZeroDivisionError
        slow.wait()

    with one_core_a_block():
        with pytest.raises(ZeroDivisionError):
            list(ordered(work, range(100)))
        slow.set()
        assert list(ordered(abs, [-1, -2])) == [1, 2]  # after whatever was begun
    assert len(begun) <= 5


def test_blas_has_one_thread_within_and_all_of_them_after():
    before = blas_threads()
    with one_core_a_block():
        assert set(blas_threads()) == {1}
        assert in_blocks()
    assert not in_blocks()
    with pytest.raises(KeyboardInterrupt), one_core_a_block():
        raise KeyboardInterrupt
    assert blas_threads() == before


def test_other_threads_leave_blas_alone():
    found = []

    def other():
        with one_core_a_block():
            found.append((blas_threads(), in_blocks(), list(ordered(abs, [-1, -2]))))

    before = blas_threads()
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert found == [(before, True, [1, 2])]
    with one_core_a_block(), one_core_a_block():  # a fit in the callback of a fit
        assert set(blas_threads()) == {1}
    assert blas_threads() == before
