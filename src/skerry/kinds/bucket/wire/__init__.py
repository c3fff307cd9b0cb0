"""The S3 wire: an ASGI application, one module a noun of the protocol."""
