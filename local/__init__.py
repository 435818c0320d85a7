"""DeepLens on one machine: the parts, the runner that reads template.yaml, the CLI and the demo."""
