"""The kubectl plugin ``kubectl kubetask``: starts, shows and changes runs, and migrates from CodeSweep."""
