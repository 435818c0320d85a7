"""Runs what template.yaml declares: functions under AWS's own runtime client, and the events that wake them."""

from local.runner.platform import Runner

__all__ = ["Runner"]
