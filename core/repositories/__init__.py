"""The stores: SQLAlchemy over PostgreSQL and SQLite, and one in memory for tests."""
