"""A Kubernetes API behind TLS, with an authority of its own."""
