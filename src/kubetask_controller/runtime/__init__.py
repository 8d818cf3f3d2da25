"""A controller runtime for Kubernetes in asyncio; it knows nothing of KubeTask."""
