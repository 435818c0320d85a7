"""whatsapp-ready-messages → converse"""

from deeplens.bootstrap.handlers import pipeline_handler
from deeplens.whatsapp.converse import Converse

handler = pipeline_handler(Converse)
