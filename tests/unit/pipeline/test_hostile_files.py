"""Files that crash, hang or fill their decoder, in the middle of a batch and of a search."""

from collections.abc import Iterator
from typing import Any

import pytest
from deeplens.images.model import Step
from deeplens.imaging.decoder import ImageDecoder
from deeplens.imaging.limits import Limits
from deeplens.pipeline.preprocess import Preprocess
from PIL import Image

from tests.harness import hostile
from tests.harness.api import World, picture
from tests.harness.flow import Flow, topic_of_stage
from tests.harness.pictures import file_of

TOPIC = topic_of_stage(Preprocess)
BOMB = file_of(Image.new("CMYK", (5000, 5000)), "JPEG", progressive=True)
"""Half a megabyte that unfolds to 200."""
LIMITS = Limits(max_memory_bytes=100 << 20)
ATTACKS = {
    "DECODER_CRASHED": picture() + hostile.CRASH,
    "DECODER_TIMEOUT": picture() + hostile.HANG,
    "DECODER_OUT_OF_MEMORY": picture() + hostile.GREEDY,
}


@pytest.fixture
def decoder() -> Iterator[ImageDecoder]:
    made = ImageDecoder(LIMITS, 2, {}, hostile.__name__)
    yield made
    made.close()


def test_one_file_of_each_kind_fails_in_a_batch_and_all_others_complete(decoder: ImageDecoder) -> None:
    # given good images between those that take their decoder down
    flow = Flow()
    flow.decoder = decoder
    flow.handlers[TOPIC] = [flow.handler(Preprocess)]
    attacks = [*ATTACKS.items(), ("DECODER_OUT_OF_MEMORY", BOMB)]
    for number, (_, body) in enumerate(attacks):
        flow.accept(f"img_good{number}")
        flow.accept(f"img_bad{number}", body)
    flow.accept("img_last")

    # when the whole batch is delivered at once
    flow.deliver(TOPIC)
    flow.run()

    # then nothing is delivered again, and each record has its own outcome
    assert all(not answer["batchItemFailures"] for topic, answer in flow.handled if topic == TOPIC)
    assert {flow.row(f"img_good{n}").step for n in range(len(attacks))} == {Step.COMPLETED}
    assert flow.row("img_last").step is Step.COMPLETED
    assert [flow.row(f"img_bad{n}").error_code for n in range(len(attacks))] == [code for code, _ in attacks]
    assert not flow.retries.messages, "a file that ends its decoder is not tried again"


@pytest.mark.parametrize("code", ATTACKS)
@pytest.mark.parametrize("path", ["/v1/images", "/v1/search/image"])
def test_a_client_is_told_which_file_cannot_be_decoded(decoder: ImageDecoder, code: str, path: str) -> None:
    world = World()
    world.decoder = decoder
    client: Any = world.client
    answer = client.post(path, files={"file": ("a.jpg", ATTACKS[code])})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"].endswith(code.lower().replace("_", "-"))
    assert world.client.post("/v1/images", files={"file": ("a.jpg", picture())}).status_code == 202
