"""The auth service, free of any web framework."""
