"""The Dockerfile, stage by stage."""
