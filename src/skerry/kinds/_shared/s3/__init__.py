"""What every server of the S3 protocol needs: signatures, chunked bodies, checksums, XML, errors."""
