"""whatsapp-ready-messages → converse"""

from deeplens.bootstrap import pipeline_handler
from deeplens.pipeline.converse import Converse

handler = pipeline_handler(Converse)
