"""What `bucket_sync.py` is built from."""
