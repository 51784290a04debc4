"""The FastAPI front door. Each module has its twin in `api_flask`."""
