"""HTTP → verify and queue WhatsApp's messages → whatsapp-ready-messages"""

from deeplens.bootstrap.handlers import parts
from deeplens.whatsapp.app import create_whatsapp_app
from mangum import Mangum

TEXT = ["text/", "application/json", "application/problem+json"]
parts().publisher.connect()
handler = Mangum(create_whatsapp_app(parts()), lifespan="off", text_mime_types=TEXT)
