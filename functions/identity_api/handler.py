"""HTTP → sign users in, issue tokens, publish signing keys"""

from deeplens.bootstrap.handlers import container
from deeplens.identity.app import create_identity_app
from mangum import Mangum

TEXT = ["text/", "application/json", "application/problem+json"]
handler = Mangum(create_identity_app(container()), lifespan="off", text_mime_types=TEXT)
