"""What KubeTask does with its kinds. Policies are pure functions; effects stand in jobcontrol, files and the reconcilers."""
