"""Decoders in their processes, which all tests share: each takes a tenth of a second to start."""

from functools import cache

from deeplens.imaging.decoder import ImageDecoder
from deeplens.imaging.limits import Limits
from deeplens.videos.decoding.decoder import VideoDecoder
from deeplens.videos.decoding.limits import VideoLimits

SECONDS = 60


@cache
def image_decoder() -> ImageDecoder:
    return ImageDecoder(Limits(), SECONDS, {})


@cache
def video_decoder() -> VideoDecoder:
    return VideoDecoder(VideoLimits(), {})
