"""Admission to the inference server: bounded, first come first served, and free again after a failure."""

import asyncio
import threading

import pytest

from functions.inference_endpoint.gate import Busy, Gate


def test_more_than_compute_and_wait_are_turned_away() -> None:
    release = threading.Event()

    async def scene() -> list[str]:
        gate = Gate(at_once=1, waiting=2)
        admitted = [asyncio.ensure_future(gate.run(lambda: str(release.wait(10)))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            gate.check()
        with pytest.raises(Busy):
            await gate.run(lambda: "late")
        release.set()
        answers = await asyncio.gather(*admitted)
        return [*answers, await gate.run(lambda: "next")]

    assert asyncio.run(scene()) == ["True", "True", "True", "next"]


def test_a_failure_frees_its_place() -> None:
    def fail() -> None:
        raise ValueError("broken")

    async def scene() -> str:
        gate = Gate(at_once=1, waiting=0)
        for _ in range(3):
            with pytest.raises(ValueError, match="broken"):
                await gate.run(fail)
        return await gate.run(lambda: "still open")

    assert asyncio.run(scene()) == "still open"
