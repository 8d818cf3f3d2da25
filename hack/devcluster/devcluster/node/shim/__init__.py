"""The supervisor of one container: a process that builds the container's file system, runs it and writes its log.

It is started outside of the package (`sys.path` holds the folder above this one, nothing else), so its
modules import each other relatively and the standard library only. The protocol with the node is in `main`.
"""
