"""The KubeTask API: constants, the four kinds, their CustomResourceDefinitions, a task's manifest.

The lowest layer: it imports nothing of the other packages and talks to nobody.
"""
