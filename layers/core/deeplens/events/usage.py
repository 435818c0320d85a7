"""Usage of a tenant."""

from pydantic import AwareDatetime

from deeplens.common.event import Event, ImageId, MetricName, Quantity, TenantId


class TenantUsage(Event):
    """``quantity`` of ``unit`` used by a tenant, e.g. 1 ``images.completed``.

    ``quantities`` are of further metrics that are counted with the same event, by metric.
    """

    tenant_id: TenantId
    metric: MetricName
    quantity: Quantity
    unit: str
    occurred_at: AwareDatetime
    image_id: ImageId | None = None
    quantities: dict[MetricName, Quantity] | None = None

    @property
    def key(self) -> str:
        return self.tenant_id
