"""Run the functions of template.yaml under AWS's own runtime client, and feed them from their event sources."""

from local.runner.platform import Runner

__all__ = ["Runner"]
