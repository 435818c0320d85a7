"""Errors of files that are not acceptable videos."""

from deeplens.errors import PipelineError


class InvalidVideo(PipelineError, code="INVALID_VIDEO", status=422):
    """The file is not a video that DeepLens accepts."""


class VideoFormatUnsupported(InvalidVideo, code="VIDEO_FORMAT_UNSUPPORTED", status=415): ...


class VideoCodecUnsupported(InvalidVideo, code="VIDEO_CODEC_UNSUPPORTED"): ...


class VideoCorrupt(InvalidVideo, code="VIDEO_CORRUPT"): ...


class VideoTruncated(InvalidVideo, code="VIDEO_TRUNCATED"): ...


class VideoEncrypted(InvalidVideo, code="VIDEO_ENCRYPTED"):
    """The frames are encrypted (DRM)."""


class NoPictures(InvalidVideo, code="VIDEO_WITHOUT_PICTURES"):
    """The file has no video stream, or an empty one."""


class VideoTooLong(InvalidVideo, code="VIDEO_TOO_LONG"): ...


class VideoTooLarge(InvalidVideo, code="VIDEO_TOO_LARGE"):
    """The file has too many bytes, or too many pixels per frame."""


class VideoTooSlow(InvalidVideo, code="VIDEO_TOO_SLOW"):
    """Decoding timed out or crashed the process several times."""
