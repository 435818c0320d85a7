"""deeplens.features.extraction → embed → deeplens.vectors.indexing"""

from deeplens.bootstrap.handlers import pipeline_handler
from deeplens.pipeline.embed import Embed

handler = pipeline_handler(Embed)
