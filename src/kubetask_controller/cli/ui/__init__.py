"""``kubectl kubetask ui``: a web page on loopback that uses the user's kubeconfig."""
