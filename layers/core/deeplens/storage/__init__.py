"""Object stores of tenants: S3 and compatible services, Azure Blob containers, and directories."""
