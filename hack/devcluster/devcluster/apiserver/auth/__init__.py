"""Authentication and authorization: certificates, tokens, RBAC, reviews, and the default roles."""
