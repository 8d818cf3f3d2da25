"""The kubectl plugin ``kubectl kubetask``: runs, what became of them, and the way here from CodeSweep."""
