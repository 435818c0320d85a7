"""What is found out about a file before its frames are taken, and why one is refused."""

from io import BytesIO

import av
import pytest
from deeplens.errors import EmptyFile, StoreUnavailable
from deeplens.formats.errors import (
    InvalidVideo,
    NoPictures,
    VideoCodecUnsupported,
    VideoCorrupt,
    VideoEncrypted,
    VideoFormatUnsupported,
    VideoTooLarge,
    VideoTooLong,
    VideoTruncated,
)
from deeplens.formats.videos import MATROSKA, MP4
from deeplens.videos.decoding.limits import CODECS, DECODERS, VideoLimits
from deeplens.videos.decoding.media import open_video
from deeplens.videos.decoding.probe import poster, probe
from PIL import Image

from tests.harness.films import KINDS, encrypted, film, in_store, long_claimed, sound

LIMITS = VideoLimits()
FASTSTART = {"movflags": "faststart"}


@pytest.mark.parametrize(("codec", "container"), KINDS)
def test_every_accepted_kind_tells_what_it_is(codec: str, container: str) -> None:
    facts = probe(in_store(film(codec=codec, container=container)), LIMITS)

    assert facts.duration_seconds == pytest.approx(6, abs=0.3)
    assert (facts.width, facts.height) == (160, 120)
    assert facts.fps == pytest.approx(10, abs=0.1)
    assert facts.codec in {"h264", "hevc", "mpeg4", "vp8", "vp9"}


def test_a_rotated_film_is_as_wide_as_it_is_shown() -> None:
    facts = probe(in_store(film(rotation=90)), LIMITS)
    assert (facts.width, facts.height) == (120, 160)


def test_a_poster_is_a_picture_of_the_film() -> None:
    file = in_store(film(size=(320, 240)))
    image = Image.open(BytesIO(poster(file, probe(file, LIMITS))))
    assert (image.format, image.size) == ("JPEG", (320, 240))


BROKEN = {
    "nothing": (b"", EmptyFile),
    "text": (b"not a film at all", VideoFormatUnsupported),
    "a playlist": (b"#EXTM3U\n#EXTINF:1,\nhttp://169.254.169.254/latest\n", VideoFormatUnsupported),
    "a concat script": (b"ffconcat version 1.0\nfile /etc/passwd\n", VideoFormatUnsupported),
    "cut before its index": (film()[:2000], VideoTruncated),
    "cut behind its index": (film(options=FASTSTART)[:-500], VideoTruncated),
    "a cut Matroska": (film(container="matroska")[:-500], VideoTruncated),
    "a cut AVI": (film(codec="mpeg4", container="avi")[:-500], VideoTruncated),
    "sound only": (sound(), NoPictures),
    "encrypted": (encrypted(), VideoEncrypted),
    "zeros behind a good start": (film()[:40] + bytes(400), InvalidVideo),
    "boxes that do not line up": (film()[:32] + b"\x00\x00\x00\x03oops" + bytes(64), VideoCorrupt),
    "a claim of four days": (long_claimed(350_000), VideoTooLong),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_be_worked_is_refused_with_its_reason(what: str) -> None:
    body, reason = BROKEN[what]
    with pytest.raises(reason):
        probe(in_store(body), LIMITS)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (VideoLimits(max_bytes=1000), VideoTooLarge),
        (VideoLimits(max_pixels=1000), VideoTooLarge),
        (VideoLimits(max_seconds=5), VideoTooLong),
        (VideoLimits(codecs=frozenset({"av1"})), VideoCodecUnsupported),
    ],
)
def test_limits_are_kept(limits: VideoLimits, reason: type[Exception]) -> None:
    with pytest.raises(reason):
        probe(in_store(film()), limits)


def test_a_file_that_does_not_say_how_long_it_is_is_measured() -> None:
    body = film(container="webm", codec="libvpx-vp9", options={"live": "1"})
    assert probe(in_store(body), LIMITS).duration_seconds == pytest.approx(6, abs=0.3)


def test_a_file_of_one_frame_is_a_film() -> None:
    assert 0 < probe(in_store(film(seconds=1 / 30)), LIMITS).duration_seconds <= 0.3


def test_a_store_that_goes_away_in_the_middle_is_not_a_broken_film() -> None:
    file = in_store(film(size=(640, 480)), chunk_bytes=512)
    file._store.failure = None  # type: ignore[attr-defined]
    file.peek(0, 16)
    reads = 0
    fetch = file._fetch

    def failing(start: int, length: int) -> bytes:
        nonlocal reads
        reads += 1
        if reads > 6:
            file._store.failure = StoreUnavailable("gone")  # type: ignore[attr-defined]
        return fetch(start, length)

    file._fetch = failing  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        probe(file, LIMITS)


def test_a_codec_that_is_not_accepted_never_reaches_its_decoder() -> None:
    # given a lossless film, whose decoder FFmpeg runs while it opens a file unless it is told not to
    file = in_store(film(codec="ffv1", container="matroska"))
    av.logging.set_level(av.logging.ERROR)

    # when it is opened, as the first frame and every segment are
    with av.logging.Capture(local=False) as logs, pytest.raises(VideoCodecUnsupported, match="ffv1"):
        open_video(file, MATROSKA).__enter__()
    av.logging.set_level(None)

    # then FFmpeg refused the decoder itself
    assert any("not on whitelist" in text for _, _, text in logs)


def test_a_file_of_another_format_is_not_opened() -> None:
    with pytest.raises(VideoCorrupt):
        open_video(in_store(film(container="matroska")), MP4).__enter__()


def test_pictures_that_grow_in_the_middle_are_not_decoded() -> None:
    with (
        open_video(in_store(film()), MP4, VideoLimits(max_pixels=1000)) as (container, _),
        pytest.raises(av.FFmpegError),
    ):
        next(container.decode(video=0))


def test_only_decoders_in_software_of_accepted_codecs_are_listed() -> None:
    assert {av.Codec(name, "r").canonical_name for name in DECODERS.split(",")} == CODECS
