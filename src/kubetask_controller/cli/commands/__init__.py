"""The commands of the plugin. A command returns its exit code."""
