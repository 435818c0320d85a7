"""the object queue ← a bucket's notification → ingest → deeplens.images.uploaded"""

from deeplens.bootstrap import pipeline_handler
from deeplens.pipeline.ingest import Ingest

handler = pipeline_handler(Ingest)
