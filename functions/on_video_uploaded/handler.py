"""deeplens.videos.uploaded → extract_frames → videos.uploaded per segment, images.uploaded per frame"""

from deeplens.bootstrap import pipeline_handler
from deeplens.pipeline.extract_frames import ExtractFrames

handler = pipeline_handler(ExtractFrames)
