"""APIs of git hosts. The controller never loads it."""
