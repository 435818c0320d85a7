"""HTTP → look after tenants → deeplens.images.maintenance"""

from deeplens.bootstrap.admin_api import create_admin_app
from deeplens.bootstrap.handlers import parts
from mangum import Mangum

TEXT = ["text/", "application/json", "application/problem+json"]
handler = Mangum(create_admin_app(parts()), lifespan="off", text_mime_types=TEXT)
