"""One database per tenant."""
