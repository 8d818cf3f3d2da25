"""The KubeTask API: constants, the four kinds, their CustomResourceDefinitions, a task's manifest.

The lowest layer: it imports none of the other packages and sends no requests.
"""
