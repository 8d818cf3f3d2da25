"""KubeTask: a Kubernetes operator that runs AI coding agents over many repositories."""
