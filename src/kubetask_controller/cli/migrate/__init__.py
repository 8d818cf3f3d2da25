"""CodeSweep manifests made into KubeTask's, with their comments and their neighbours."""
