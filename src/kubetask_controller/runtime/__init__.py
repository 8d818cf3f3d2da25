"""A controller runtime for Kubernetes in asyncio; it is independent of KubeTask."""
