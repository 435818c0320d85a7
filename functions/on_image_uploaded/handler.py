"""deeplens.images.uploaded → preprocess → deeplens.features.extraction"""

from deeplens.bootstrap.handlers import pipeline_handler
from deeplens.pipeline.preprocess import Preprocess

handler = pipeline_handler(Preprocess)
