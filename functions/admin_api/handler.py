"""HTTP → administer tenants → deeplens.images.maintenance"""

from deeplens.bootstrap.admin_api import create_admin_app
from deeplens.bootstrap.handlers import container
from mangum import Mangum

TEXT = ["text/", "application/json", "application/problem+json"]
handler = Mangum(create_admin_app(container()), lifespan="off", text_mime_types=TEXT)
