"""Keep the spans of the last day and the metrics on this machine, and show them."""
