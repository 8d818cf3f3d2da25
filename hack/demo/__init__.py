"""The main job on the embedded development cluster, from an empty folder to pushed branches."""
