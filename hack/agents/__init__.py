"""The agent tools that KubeTask has presets for, at the versions that its images and tests have."""
