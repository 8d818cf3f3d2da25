"""One task, whoever owns it: what BatchRuns and Tasks share."""
