"""Which frames are taken, and that parts of a film give together what the whole gives."""

import math
from io import BytesIO
from itertools import pairwise

import pytest
from deeplens.formats.errors import VideoTooSlow, VideoTruncated
from deeplens.tenants.model import VideoSettings
from deeplens.videos.decoding.frames import frames_of
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.decoding.media import DecodeDeadline
from deeplens.videos.decoding.plan import FramePicker, plan_segments
from deeplens.videos.decoding.probe import probe
from deeplens.videos.decoding.ranged import RangedFile
from deeplens.videos.model import Segment, VideoFacts
from PIL import Image

from tests.harness.films import BLUE, GREEN, KINDS, RED, WHITE, film, in_store


def taken(body: bytes, *, every: float = 100, most: int = 100, segment_seconds: float = 100) -> list[float]:
    """Offsets of the frames of all segments."""
    file, limits = in_store(body), VideoLimits(segment_seconds=segment_seconds)
    segments = plan_segments(probe(file, limits), VideoSettings(every, most), limits)
    return [frame.offset_seconds for segment in segments for frame in frames_of(file, segment, DecodeDeadline())]


@pytest.mark.parametrize(("codec", "container"), KINDS)
def test_a_frame_is_taken_at_each_scene_cut(codec: str, container: str) -> None:
    offsets = taken(film(codec=codec, container=container))
    assert offsets == pytest.approx([0, 2, 4], abs=0.15)


def test_between_cuts_a_frame_is_taken_often_enough() -> None:
    offsets = taken(film((RED, GREEN), 5), every=2)
    assert offsets == pytest.approx([0, 2, 4, 5, 7, 9], abs=0.05)


@pytest.mark.parametrize(("codec", "container"), KINDS)
def test_segments_meet_without_a_gap_and_without_a_frame_twice(codec: str, container: str) -> None:
    body = film((RED, GREEN, BLUE, WHITE), 3, codec=codec, container=container)
    offsets = taken(body, every=1, segment_seconds=2.5)

    assert offsets == sorted(set(offsets))
    assert {round(cut) for cut in offsets} >= {0, 3, 6, 9}
    assert max(after - before for before, after in pairwise(offsets)) <= 1.01


def test_a_variable_rate_is_told_by_times_not_by_counting() -> None:
    times = [0, 0.04, 0.08, 1.5, 3.0, 3.02, 3.04, 3.5, 4.0, 5.9]
    offsets = taken(film((RED, GREEN), times=times), every=100)
    assert offsets == pytest.approx([0, 3.02], abs=0.03)


def test_a_rotated_frame_stands_upright() -> None:
    for rotation, darker in ((0, (80, 110)), (180, (80, 10))):
        file = in_store(film((WHITE,), rotation=rotation))
        segment = plan_segments(probe(file, VideoLimits()), VideoSettings(100), VideoLimits())[0]
        picture = Image.open(BytesIO(next(frames_of(file, segment, DecodeDeadline())).jpeg)).convert("L")
        brighter = (darker[0], picture.height - darker[1])
        assert picture.getpixel(darker) < picture.getpixel(brighter) - 50, rotation


def test_a_quarter_turn_is_applied() -> None:
    file = in_store(film((WHITE,), rotation=90))
    segment = plan_segments(probe(file, VideoLimits()), VideoSettings(100), VideoLimits())[0]
    picture = Image.open(BytesIO(next(frames_of(file, segment, DecodeDeadline())).jpeg)).convert("L")
    # The matrix turns the picture counter-clockwise: what was its top is its left side.
    assert picture.size == (120, 160)
    assert picture.getpixel((10, 80)) > picture.getpixel((110, 80)) + 50


@pytest.mark.long
def test_a_long_film_is_read_in_pieces() -> None:
    body = film((RED, GREEN, BLUE), 20, options={"movflags": "faststart"}, noise=True)
    file = in_store(body, chunk_bytes=1 << 16)
    middle = Segment(1, 30, 32, 4, 1)
    assert [frame.offset_seconds for frame in frames_of(file, middle, DecodeDeadline())] == pytest.approx([30, 31])
    assert file.bytes_read < len(body) / 2
    assert len(file._chunks) <= 6


def test_a_segment_behind_the_end_of_the_pictures_says_that_the_file_was_cut() -> None:
    file = in_store(film())
    with pytest.raises(VideoTruncated, match="from second 300 on"):
        list(frames_of(file, Segment(1, 300, 600, 60, 5, last=True), DecodeDeadline()))


def test_a_decoder_that_is_too_slow_is_given_up() -> None:
    file = in_store(film())
    with pytest.raises(VideoTooSlow):
        list(frames_of(file, Segment(0, 0, 6, 60, 5, last=True), DecodeDeadline(0, 0)))


def test_in_a_hurry_only_keyframes_are_looked_at() -> None:
    file = in_store(film(seconds=10))
    hurried = list(frames_of(file, Segment(0, 0, 30, 60, 1, last=True), DecodeDeadline(0, 60)))
    assert 1 <= len(hurried) < 20


@pytest.mark.parametrize(
    ("offsets", "cuts", "every", "most", "expected"),
    [
        (range(10), (), 3, 100, [0, 3, 6, 9]),
        (range(10), (4,), 3, 100, [0, 3, 4, 7]),
        (range(10), range(10), 5, 3, [0, 1, 5]),
        (range(10), range(10), 5, 2, [0, 5]),
        (range(10), range(10), 5, 1, [0]),
        ((0, 0.1, 0.2, 0.6, 5), (0.1, 0.2, 0.6, 5), 100, 9, [0, 0.6, 5]),
    ],
)
def test_a_picker_takes_cuts_only_where_all_that_is_due_still_fits(
    offsets: list[float], cuts: list[float], every: float, most: int, expected: list[float]
) -> None:
    picker = FramePicker(Segment(0, 0, 10, most, every))
    assert [at for at in offsets if picker.wants(at, cut=at in cuts)] == expected


HD, UHD = (1280, 720, 30.0), (3840, 2160, 60.0)


@pytest.mark.parametrize(
    ("seconds", "shape", "most", "count", "frames"),
    [
        (10, HD, 1000, 1, 1000),
        (7200, HD, 1000, 24, 1000),
        (7200, UHD, 1000, 150, 1000),
        (7200, UHD, 10, 10, 10),
        (0.04, HD, 1000, 1, 1000),
        (7200, (0, 0, 0.0), 1, 1, 1),
    ],
)
def test_a_plan_covers_the_film_within_its_frames(
    seconds: float, shape: tuple[int, int, float], most: int, count: int, frames: int
) -> None:
    facts = VideoFacts(seconds, *shape, "h264", "mp4")
    segments = plan_segments(facts, VideoSettings(5, most), VideoLimits())

    assert len(segments) == count
    assert sum(segment.max_frames for segment in segments) == frames
    assert [segment.number for segment in segments] == list(range(count))
    assert [segment.last for segment in segments] == [*[False] * (count - 1), True]
    assert all(before.end_seconds <= after.begin_seconds for before, after in pairwise(segments))
    assert all(math.ceil((s.end_seconds - s.begin_seconds) / s.every_seconds) <= s.max_frames + 1 for s in segments)


def test_a_ranged_file_reads_as_a_file_does() -> None:
    body = bytes(range(256)) * 40
    file: RangedFile = in_store(body, chunk_bytes=1000)
    assert file.read(10) == body[:10]
    assert file.seek(-5, 2) == len(body) - 5
    assert file.read(100) == body[-5:]
    assert file.read(100) == b""
    assert file.seek(995) == 995
    assert file.read(2010) == body[995:3005]
    assert file.seek(0) == 0
    assert file.read() == body
    assert file.peek(len(body), 4) == b""
