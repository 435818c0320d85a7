"""deeplens.videos.uploaded → extract frames → videos.uploaded per segment, images.uploaded per frame"""

from deeplens.bootstrap.handlers import pipeline_handler
from deeplens.videos.extract import ExtractFrames

handler = pipeline_handler(ExtractFrames)
