"""An operator that publishes the labels of a Namespace in a ConfigMap; see README.md."""
