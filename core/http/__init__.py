"""The HTTP contract as data: operations, models, errors, documents, and the edge. Still without a framework."""
