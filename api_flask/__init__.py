"""The Flask front door. Each module has its twin in `api_fastapi`."""
