"""HTTP → upload, look, search → deeplens.images.uploaded, deeplens.images.maintenance"""

from deeplens.api.app import create_app
from deeplens.bootstrap import parts
from mangum import Mangum

TEXT = ["text/", "application/json", "application/problem+json"]
handler = Mangum(create_app(parts()), lifespan="off", text_mime_types=TEXT)
