"""Make AWS clients and store secrets in AWS Secrets Manager."""
