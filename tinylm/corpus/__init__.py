"""`artifacts/corpus`: the stories, as Parquet files."""
