"""HTTP → upload, read, search → deeplens.images.uploaded, deeplens.images.maintenance"""

from deeplens.bootstrap.handlers import container
from deeplens.bootstrap.search_api import create_app
from mangum import Mangum

TEXT = ["text/", "application/json", "application/problem+json"]
handler = Mangum(create_app(container()), lifespan="off", text_mime_types=TEXT)
