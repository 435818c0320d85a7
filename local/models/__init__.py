"""Models of operators: made ready, checked, and put where the inference endpoint finds them."""
