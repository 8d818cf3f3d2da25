"""One task of a BatchRun or Task: the code that both share."""
