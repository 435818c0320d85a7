"""the object queue ← a bucket's notification → ingest → deeplens.images.uploaded"""

from deeplens.bootstrap.handlers import pipeline_handler
from deeplens.uploads.ingest import Ingest

handler = pipeline_handler(Ingest)
