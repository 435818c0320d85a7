"""Videos that are decoded in the child process: the same results, and a film that breaks its decoder fails alone."""

import pytest
from deeplens.formats.errors import InvalidVideo
from deeplens.videos.decoding.decoder import VideoDecoder
from deeplens.videos.decoding.frames import frames_of
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.decoding.media import DecodeDeadline
from deeplens.videos.decoding.probe import poster, probe
from deeplens.videos.extract import ExtractFrames
from deeplens.videos.model import Segment

from tests.harness import hostile, hostile_videos
from tests.harness.decoders import video_decoder
from tests.harness.films import KINDS, film, in_store, sound
from tests.harness.flow import Flow, topic_of_stage

LIMITS, WHOLE = VideoLimits(), Segment(0, 0, 6, 20, 1, last=True)
TOPIC = topic_of_stage(ExtractFrames)


@pytest.mark.parametrize(("codec", "container"), KINDS)
@pytest.mark.parametrize("rotation", [0, 90])
def test_a_film_gives_the_same_as_without_the_child(codec: str, container: str, rotation: int) -> None:
    body, decoder = film(codec=codec, container=container, rotation=rotation), video_decoder()
    facts = probe(in_store(body), LIMITS)
    assert decoder.probe(in_store(body)) == facts
    assert decoder.poster(in_store(body), facts) == poster(in_store(body), facts)
    expected = list(frames_of(in_store(body), WHOLE, DecodeDeadline()))
    assert list(decoder.frames_of(in_store(body), WHOLE)) == expected


@pytest.mark.parametrize(
    "body", [sound(), film()[:2000], film()[:40] + bytes(400), film(codec="ffv1", container="matroska")]
)
def test_a_film_that_is_refused_is_refused_with_the_same_words(body: bytes) -> None:
    with pytest.raises(InvalidVideo) as expected:
        probe(in_store(body), LIMITS)
    with pytest.raises(type(expected.value)) as actual:
        video_decoder().probe(in_store(body))
    assert str(actual.value) == str(expected.value)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (hostile.CRASH, "DECODER_CRASHED"),
        (hostile.HANG, "DECODER_TIMEOUT"),
        (hostile.GREEDY, "DECODER_OUT_OF_MEMORY"),
        (hostile_videos.FLOOD, "DECODER_CRASHED"),
    ],
)
def test_a_film_that_breaks_its_decoder_fails_and_the_next_completes(end: bytes, code: str) -> None:
    flow = Flow()
    flow.video_decoder = VideoDecoder(LIMITS, {}, 2, hostile_videos.__name__)
    flow.handlers[TOPIC] = [flow.handler(ExtractFrames)]
    flow.accept_video(film() + bytes(16 - len(end)) + end, "vid_1")
    flow.accept_video(film(), "vid_2")

    flow.run()
    flow.video_decoder.close()

    assert (flow.video("vid_1").status, flow.video("vid_1").error_code) == ("failed", code)
    assert flow.video("vid_2").status == "completed"
    assert not flow.retries.messages
