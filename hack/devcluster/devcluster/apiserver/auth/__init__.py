"""Who callers are and what they may do: certificates, tokens, RBAC, reviews, and what a new cluster begins with."""
