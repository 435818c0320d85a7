"""Requests share calls under load, an idle model starts at once, and each request gets its own rows."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from functions.inference_endpoint.batching import Batcher, Floats, Ticket

PATIENCE = 10


class Model:
    """A model that returns each image's number; tests may block it and make it fail."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.poison: float | None = None
        self.free = threading.Event()
        self.free.set()

    def __call__(self, pixels: Floats) -> Floats:
        self.sizes.append(len(pixels))
        assert self.free.wait(PATIENCE)
        numbers = pixels[:, 0, 0, 0]
        if self.poison in numbers:
            raise ValueError("out of memory")
        return np.asarray(numbers[:, None], np.float32)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def batcher(model: Model) -> Iterator[Batcher]:
    made = Batcher(model, max_images=4, calls=1, max_delay_seconds=0.02)
    yield made
    model.free.set()
    made.close()


def images(*numbers: float) -> Floats:
    return np.stack([np.full((3, 2, 2), number, np.float32) for number in numbers])


def send(batcher: Batcher, *numbers: float) -> Ticket:
    ticket = batcher.expect(len(numbers))
    batcher.put(ticket, 0, images(*numbers))
    return ticket


def rows(ticket: Ticket) -> list[float]:
    return [float(value) for value in ticket.future.result(PATIENCE)[:, 0]]


def occupied(batcher: Batcher, model: Model) -> Ticket:
    """Start a call that runs until ``model.free`` is set."""
    model.free.clear()
    first = send(batcher, 0)
    until(lambda: model.sizes == [1])
    return first


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_lone_image_is_not_delayed(model: Model) -> None:
    batcher = Batcher(model, max_images=4, calls=1, max_delay_seconds=PATIENCE)
    started = time.monotonic()

    assert rows(send(batcher, 7)) == [7]
    assert time.monotonic() - started < PATIENCE / 2
    batcher.close()


def test_images_of_several_requests_share_a_call_and_keep_their_order(batcher: Batcher, model: Model) -> None:
    first = occupied(batcher, model)
    tickets = [send(batcher, *numbers) for numbers in ((1, 2), (3,), (4, 5, 6))]
    model.free.set()

    assert [rows(ticket) for ticket in (first, *tickets)] == [[0], [1, 2], [3], [4, 5, 6]]
    assert model.sizes == [1, 4, 2]


def test_a_call_beside_a_running_one_waits_for_expected_images_up_to_a_limit(model: Model) -> None:
    batcher = Batcher(model, max_images=4, calls=2, max_delay_seconds=0.05)
    first = occupied(batcher, model)
    ticket = batcher.expect(3)
    batcher.put(ticket, 0, images(1))
    batcher.put(ticket, 1, images(2))
    until(lambda: len(model.sizes) == 2)
    batcher.put(ticket, 2, images(3))
    model.free.set()

    assert (rows(first), rows(ticket)) == ([0], [1, 2, 3])
    assert model.sizes == [1, 2, 1]
    batcher.close()


def test_an_idle_model_does_not_wait_for_expected_images(model: Model) -> None:
    batcher = Batcher(model, max_images=4, calls=1, max_delay_seconds=PATIENCE)
    ticket = batcher.expect(2)
    batcher.put(ticket, 0, images(1))
    until(lambda: model.sizes == [1])
    batcher.put(ticket, 1, images(2))

    assert rows(ticket) == [1, 2]
    assert model.sizes == [1, 1]
    batcher.close()


def test_images_that_would_fit_into_one_call_are_divided_among_idle_calls(model: Model) -> None:
    batcher = Batcher(model, max_images=4, calls=2, max_delay_seconds=PATIENCE)
    model.free.clear()
    ticket = send(batcher, 1, 2, 3, 4)
    until(lambda: len(model.sizes) == 2)
    model.free.set()

    assert rows(ticket) == [1, 2, 3, 4]
    assert model.sizes == [2, 2]
    batcher.close()


def test_a_large_request_is_split_into_calls_and_reassembled(batcher: Batcher, model: Model) -> None:
    first = occupied(batcher, model)
    large, small = send(batcher, *range(1, 12)), send(batcher, 20, 21)
    model.free.set()

    assert [rows(one) for one in (first, large, small)] == [[0], list(range(1, 12)), [20, 21]]
    assert model.sizes == [1, 4, 4, 4, 1]


def test_a_request_that_fills_a_call_alone_is_not_copied() -> None:
    seen: list[Floats] = []

    def run(pixels: Floats) -> Floats:
        seen.append(pixels)
        return np.asarray(pixels[:, 0, 0, :1], np.float32)

    batcher = Batcher(run, max_images=4, calls=1, max_delay_seconds=0)
    given = images(1, 2, 3, 4)
    ticket = batcher.expect(4)
    batcher.put(ticket, 0, given)

    assert rows(ticket) == [1, 2, 3, 4]
    assert np.shares_memory(seen[0], given)
    batcher.close()


def test_a_full_call_does_not_wait_for_expected_images(model: Model) -> None:
    batcher = Batcher(model, max_images=2, calls=2, max_delay_seconds=PATIENCE)
    occupied(batcher, model)
    batcher.expect(1)
    send(batcher, 1, 2)

    until(lambda: model.sizes == [1, 2])
    model.free.set()
    batcher.close()


def test_a_broken_image_fails_its_own_request_only(batcher: Batcher, model: Model) -> None:
    occupied(batcher, model)
    bad, good = batcher.expect(2), send(batcher, 5)
    batcher.put(bad, 0, images(1))
    batcher.miss(bad, 1, ValueError("image 1 is broken"))
    model.free.set()

    assert rows(good) == [5]
    with pytest.raises(ValueError, match="image 1"):
        bad.future.result(PATIENCE)


def test_a_call_that_fails_is_repeated_for_each_request_alone(batcher: Batcher, model: Model) -> None:
    first = occupied(batcher, model)
    good, bad = send(batcher, 1, 2), send(batcher, 13)
    model.poison = 13
    model.free.set()

    assert (rows(first), rows(good)) == ([0], [1, 2])
    with pytest.raises(ValueError, match="out of memory"):
        bad.future.result(PATIENCE)
    assert rows(send(batcher, 3)) == [3]


def test_images_of_ended_requests_are_not_embedded(batcher: Batcher, model: Model) -> None:
    occupied(batcher, model)
    gone, stays = send(batcher, 1, 2, 3), send(batcher, 4)
    assert gone.future.cancel()
    model.free.set()

    assert rows(stays) == [4]
    assert sum(model.sizes) == 2


def test_closing_embeds_waiting_images_first(model: Model) -> None:
    batcher = Batcher(model, max_images=4, calls=2, max_delay_seconds=0)
    tickets = [send(batcher, number) for number in range(20)]
    batcher.close()

    assert [rows(ticket) for ticket in tickets] == [[number] for number in range(20)]


def test_concurrent_clients_each_get_their_own_rows(model: Model) -> None:
    batcher = Batcher(model, max_images=8, calls=3, max_delay_seconds=0.001)
    numbers_by_client = [[float(n), float(n) + 0.5] for n in range(300)]
    with ThreadPoolExecutor(16) as clients:
        found = list(clients.map(lambda numbers: rows(send(batcher, *numbers)), numbers_by_client))
    batcher.close()

    assert found == numbers_by_client
    assert max(model.sizes) <= 8
