"""What is known of an image, and what is made of it."""

from dataclasses import dataclass

from deeplens.formats.images import FileType


@dataclass(frozen=True, slots=True)
class Header:
    """Header of a file; width and height have the orientation applied."""

    type: FileType
    width: int
    height: int
    frames: int


@dataclass(frozen=True, slots=True)
class Standardised:
    """The standard forms of an original, RGB JPEG files without metadata.

    Attributes
    ----------
    jpeg : short side 512, long side at most 2,048, never enlarged.
    small, medium : fit 128 × 128 and 512 × 512, never enlarged.
    width, height : of the original in pixels, orientation applied.
    perceptual_hash : of the small thumbnail before compression.
    """

    jpeg: bytes
    small: bytes
    medium: bytes
    width: int
    height: int
    type: FileType
    perceptual_hash: int

    @property
    def format(self) -> str:
        return self.type.format

    @property
    def mime_type(self) -> str:
        return self.type.mime_type
