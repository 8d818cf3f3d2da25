"""Converts CodeSweep manifests into manifests of KubeTask; comments and other documents are kept."""
