"""deeplens.features.extraction → embed → deeplens.vectors.indexing"""

from deeplens.bootstrap.handlers import pipeline_handler
from deeplens.pipeline.extract import Extract

handler = pipeline_handler(Extract)
