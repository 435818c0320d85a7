"""SQS at the border."""
