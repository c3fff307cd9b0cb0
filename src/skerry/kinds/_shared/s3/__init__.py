"""What every S3 server needs: signatures, chunked bodies, checksums, XML, errors."""
