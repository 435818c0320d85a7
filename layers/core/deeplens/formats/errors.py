"""Errors of files that are not acceptable videos."""

from deeplens.errors import PipelineError


class InvalidVideo(PipelineError):
    """The file is not a video that DeepLens accepts."""

    code = "INVALID_VIDEO"


class VideoFormatUnsupported(InvalidVideo):
    code = "VIDEO_FORMAT_UNSUPPORTED"


class VideoCodecUnsupported(InvalidVideo):
    code = "VIDEO_CODEC_UNSUPPORTED"


class VideoCorrupt(InvalidVideo):
    code = "VIDEO_CORRUPT"


class VideoTruncated(InvalidVideo):
    code = "VIDEO_TRUNCATED"


class VideoEncrypted(InvalidVideo):
    """The frames are encrypted (DRM)."""

    code = "VIDEO_ENCRYPTED"


class NoPictures(InvalidVideo):
    """The file has no video stream, or an empty one."""

    code = "VIDEO_WITHOUT_PICTURES"


class VideoTooLong(InvalidVideo):
    code = "VIDEO_TOO_LONG"


class VideoTooLarge(InvalidVideo):
    """The file has too many bytes, or too many pixels per frame."""

    code = "VIDEO_TOO_LARGE"


class VideoTooSlow(InvalidVideo):
    """Decoding timed out or crashed the process several times."""

    code = "VIDEO_TOO_SLOW"
