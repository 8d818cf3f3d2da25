"""The reconcilers without a cluster: objects, views and a cluster in memory."""
