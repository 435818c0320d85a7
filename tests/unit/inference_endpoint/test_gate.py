"""The gate limits images and bytes in flight, and frees them after a failure."""

import pytest

from functions.inference_endpoint.gate import Busy, Gate


def test_more_images_than_the_queue_accepts_are_rejected() -> None:
    gate = Gate(max_images=10, max_bytes=1000)
    with gate.request(1) as first, gate.request(1) as second:
        first.set_images(6)
        with pytest.raises(Busy):
            second.set_images(5)
        second.set_images(4)
        with pytest.raises(Busy), gate.request(1):
            raise AssertionError("admitted")

    assert (gate.requests, gate.images, gate.size) == (0, 0, 0)


def test_requests_whose_images_are_not_counted_yet_are_limited() -> None:
    gate = Gate(max_images=2, max_bytes=1000)
    with gate.request(1), gate.request(1), pytest.raises(Busy), gate.request(1):
        raise AssertionError("admitted")


def test_a_single_request_is_always_accepted() -> None:
    gate = Gate(max_images=2, max_bytes=10)
    with gate.request(5000) as reservation:
        reservation.set_images(256)
        assert gate.images == 256


def test_bytes_in_flight_are_limited() -> None:
    gate = Gate(max_images=10, max_bytes=100)
    with gate.request(60), pytest.raises(Busy, match="bytes"), gate.request(60):
        raise AssertionError("admitted")


def test_a_failed_request_frees_its_reservation() -> None:
    gate = Gate(max_images=1, max_bytes=100)

    def break_off() -> None:
        with gate.request(10) as reservation:
            reservation.set_images(1)
            raise ValueError("broken")

    for _ in range(3):
        with pytest.raises(ValueError, match="broken"):
            break_off()
    assert (gate.requests, gate.images, gate.size) == (0, 0, 0)


def test_a_rejection_says_when_to_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("functions.inference_endpoint.gate.time.monotonic", lambda: now[0])
    gate = Gate(max_images=100, max_bytes=1000)
    for _ in range(50):
        with gate.request(1) as reservation:
            reservation.set_images(10)
            now[0] += 2
    with gate.request(1) as reservation:
        reservation.set_images(100)
        with pytest.raises(Busy) as caught:
            gate.check(1)

    assert 15 <= caught.value.retry_after_seconds <= 20
