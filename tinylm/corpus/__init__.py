"""`artifacts/corpus`: stories as Parquet."""
