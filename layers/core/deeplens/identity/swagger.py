"""Swagger UI over the documents of all three APIs; it signs in by authorization code with PKCE."""

import secrets
from importlib.resources import files

from fastapi import APIRouter, HTTPException
from fastapi.openapi.docs import get_swagger_ui_oauth2_redirect_html
from starlette.responses import HTMLResponse, Response

from deeplens.http.dependencies import Injected
from deeplens.http.schemas import OAUTH
from deeplens.identity.development import SWAGGER
from deeplens.identity.languages import templates
from deeplens.identity.model import Issuer

router = APIRouter(prefix="/swagger", include_in_schema=False)
DOCUMENTS = {
    "search": ("Search API", "/v1/openapi.json"),
    "admin": ("Admin API", "/v1/admin/openapi.json"),
    "identity": ("Identity API", "/connect/openapi.json"),
    "whatsapp": ("WhatsApp webhook", "/v1/whatsapp/openapi.json"),
}
ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@router.get("")
@router.get("/{api}")
def show(issuer: Injected[Issuer], api: str = "search") -> Response:
    nonce = secrets.token_urlsafe(16)
    headers = {"Content-Security-Policy": POLICY.format(nonce=nonce)}
    if api == "oauth2-redirect":
        # The page that the client's redirect URI leads to; its script hands the code to the page that opened it.
        page = bytes(get_swagger_ui_oauth2_redirect_html().body)
        return HTMLResponse(page.replace(b"<script>", f'<script nonce="{nonce}">'.encode()), headers=headers)
    if api not in DOCUMENTS:
        raise HTTPException(404)
    title, address = DOCUMENTS[api]
    template = templates().get_template("swagger.html")
    body = template.render(
        title=title,
        chosen=api,
        documents={name: title for name, (title, _) in DOCUMENTS.items()},
        nonce=nonce,
        options={"url": address, "redirect": f"{issuer}/swagger/oauth2-redirect", "scheme": OAUTH},
        client=SWAGGER,
    )
    return HTMLResponse(body, headers=headers)


@router.get("/assets/{name}")
def asset(name: str) -> Response:
    if name not in ASSETS:
        raise HTTPException(404)
    body = files("fastapi_swagger.resources").joinpath(name).read_bytes()
    return Response(body, media_type=ASSETS[name], headers={"Cache-Control": "public, max-age=86400"})
