"""PromQL that many panels share."""

STAGE, FUNCTION, DEPENDENCY = "{{deeplens_stage}}", "{{faas_name}}", "{{deeplens_dependency}}"
CONSUMED = "messaging_client_consumed_messages_total"


def rate(metric: str, by: str, labels: str = "") -> str:
    """Events per second, by a label."""
    return f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def quantile(part: float, histogram: str, by: str = "", labels: str = "") -> str:
    """A quantile of a histogram of the chosen interval, by a label."""
    grouping = ", ".join(filter(None, ("le", by)))
    buckets = f"rate({histogram}_bucket{{{labels}}}[$__rate_interval])"
    return f"histogram_quantile({part}, sum by ({grouping}) ({buckets}))"


def quantiles(histogram: str, labels: str = "") -> dict[str, str]:
    return {f"p{int(part * 100)}": quantile(part, histogram, "", labels) for part in (0.5, 0.95, 0.99)}
