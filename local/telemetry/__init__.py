"""Keep the spans of the last day on this machine, and show them."""
