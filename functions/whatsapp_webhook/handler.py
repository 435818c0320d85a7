"""HTTP → verify and queue WhatsApp's messages → whatsapp-ready-messages"""

from deeplens.bootstrap.handlers import container
from deeplens.whatsapp.app import create_whatsapp_app
from mangum import Mangum

TEXT = ["text/", "application/json", "application/problem+json"]
container().publisher.connect()
handler = Mangum(create_whatsapp_app(container()), lifespan="off", text_mime_types=TEXT)
