"""One container's keeper: a process of its own that makes the container's view of the machine, runs it and keeps its log.

It is started outside of the package (`sys.path` holds the folder above this one, nothing else), so its
modules import each other relatively and the standard library only. The protocol with the node is in `main`.
"""
