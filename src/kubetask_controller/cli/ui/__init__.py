"""``kubectl kubetask ui``: a web page on loopback over the user's own kubeconfig."""
