"""deeplens.vectors.indexing → index → deeplens.processing.completed"""

from deeplens.bootstrap.handlers import pipeline_handler
from deeplens.pipeline.index import Index

handler = pipeline_handler(Index)
