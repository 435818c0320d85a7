"""Rules, dashboards and the configuration of the monitoring services."""
