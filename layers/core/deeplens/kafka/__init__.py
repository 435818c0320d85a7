"""Kafka at the border: records in, messages out. Stages know nothing of it."""
