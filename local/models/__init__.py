"""Export, check and add operators' models for the inference endpoint."""
