"""Alembic's environment, and the function that brings a database to the head revision."""
