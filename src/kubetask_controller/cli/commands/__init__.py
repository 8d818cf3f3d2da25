"""The commands of the plugin, a module each. A command returns its exit code."""
