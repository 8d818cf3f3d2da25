"""kubectl kubetask and its page: a Kubernetes API in memory, and scenes that the page shows."""
