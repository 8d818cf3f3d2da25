"""The reconcilers in a simulated cluster, in virtual time; see simulate.py."""
