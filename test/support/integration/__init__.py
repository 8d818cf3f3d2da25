"""The installed product on a cluster: kubectl, controller processes, git, faults."""
