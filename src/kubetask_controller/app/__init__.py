"""The program: flags, wiring, and what holds it up in a cluster."""
