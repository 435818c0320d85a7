"""Export, check and add the models that operators choose for the inference endpoint."""
