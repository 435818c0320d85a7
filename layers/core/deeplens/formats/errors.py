"""Why a file is not a video that DeepLens takes."""

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
    """Its frames are encrypted (DRM)."""

    code = "VIDEO_ENCRYPTED"


class NoPictures(InvalidVideo):
    """A file without a video stream, or with an empty one."""

    code = "VIDEO_WITHOUT_PICTURES"


class VideoTooLong(InvalidVideo):
    code = "VIDEO_TOO_LONG"


class VideoTooLarge(InvalidVideo):
    """More bytes, or more pixels per frame, than are taken."""

    code = "VIDEO_TOO_LARGE"


class VideoTooSlow(InvalidVideo):
    """Decoding it took longer than a function may run, or ended the process, several times."""

    code = "VIDEO_TOO_SLOW"
