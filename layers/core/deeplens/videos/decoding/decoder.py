"""Decode videos in a child process that can reach nothing; the parent reads their files."""

from collections.abc import Generator, Mapping
from contextlib import closing

from deeplens.errors import DecoderCrashed, InvalidImage
from deeplens.formats.errors import InvalidVideo
from deeplens.sandbox.sandbox import Sandbox
from deeplens.videos.decoding.limits import VideoLimits
from deeplens.videos.decoding.plan import Frame
from deeplens.videos.decoding.ranged import RangedFile
from deeplens.videos.model import Segment, VideoFacts

FUNCTIONS = "deeplens.videos.decoding.child"
SILENCE_SECONDS = 700
"""More than ``DecodeDeadline``, which ends what is only slow, and less than the function may take."""
TOTAL_SECONDS = 750
"""Of one file, however often its decoder reads or answers; also less than the function may take."""
MEMORY_BYTES = 2 << 30
"""The function has 3.5 GB."""


class VideoDecoder(Sandbox):
    """``probe``, ``poster`` and ``frames_of``, run in the one child of this process; they raise as those do.

    Parameters
    ----------
    environment : of the child.
    seconds : without a frame or a read of the file.
    functions : module that the child imports.
    total_seconds : that one file may take.
    """

    def __init__(
        self,
        limits: VideoLimits,
        environment: Mapping[str, str],
        seconds: float = SILENCE_SECONDS,
        functions: str = FUNCTIONS,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._limits = limits
        super().__init__(functions, MEMORY_BYTES, seconds, [InvalidImage, InvalidVideo], environment, total_seconds)

    def probe(self, file: RangedFile) -> VideoFacts:
        return self.call(VideoFacts, "probe", file.peek, file.size_bytes, self._limits)

    def poster(self, file: RangedFile, facts: VideoFacts) -> bytes:
        return self.call(bytes, "poster", file.peek, file.size_bytes, facts)

    def frames_of(self, file: RangedFile, segment: Segment) -> Generator[Frame]:
        """Raises ``DecoderCrashed`` for more frames than the segment may give."""
        with closing(self.stream(Frame, "frames_of", file.peek, file.size_bytes, segment)) as found:
            for number, frame in enumerate(found):
                if number >= segment.max_frames:
                    raise DecoderCrashed("the file broke its decoder, which found more frames than there can be")
                yield frame
