"""Things that are made while the ones before them are used."""

import threading

import pytest

from convnext_dense.data.prefetch import prefetch


def test_the_next_is_made_while_one_is_used():
    made = [threading.Event() for _ in range(4)]

    def make(number: int) -> int:
        made[number].set()
        return number * number

    for number, square in enumerate(prefetch(make, range(4))):
        assert square == number * number
        assert number == 3 or made[number + 1].wait(timeout=5)
        assert number > 1 or not made[number + 2].wait(timeout=0.05)  # one ahead, not all
    assert list(prefetch(make, [])) == []


def test_an_error_comes_in_its_turn():
    results = prefetch(lambda number: 6 // number, [3, 2, 0, 1])
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)
