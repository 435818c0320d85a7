"""/v1/admin/tenants/{id}/images/{image_id}/trace: where the time of an image went."""

from fastapi import APIRouter

from deeplens.access.caller import Administrator
from deeplens.errors import ApiError
from deeplens.http.dependencies import Injected
from deeplens.http.problems import responses
from deeplens.traces.model import Traces, depths, of_tenant
from deeplens.traces.schemas import TraceView, span_view

router = APIRouter(prefix="/v1/admin/tenants/{tenant_id}/images", tags=["traces"])


@router.get("/{image_id}/trace", summary="Spans of an image", responses=responses(404))
def trace_of_image(tenant: Administrator, image_id: str, traces: Injected[Traces]) -> TraceView:
    """The spans of this tenant in the traces of an image, while the trace store keeps them."""
    spans = of_tenant(traces.of_image(image_id), tenant.id)
    if not spans:
        detail = f"No spans of {image_id[:64]} are kept: traces are off, not sampled, or older than the store keeps."
        raise ApiError(404, "trace-not-found", "Trace not found", detail)
    return TraceView(spans=[span_view(depth, span) for depth, span in depths(spans)])
