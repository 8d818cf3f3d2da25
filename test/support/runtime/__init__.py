"""Informers, queues and leases without a cluster: virtual time, and API servers that follow a script."""
