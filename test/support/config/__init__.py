"""What kustomize renders of config/."""
