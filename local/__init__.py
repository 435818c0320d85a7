"""DeepLens on one machine: the services, the runner that reads template.yaml, the CLI and the demo."""
