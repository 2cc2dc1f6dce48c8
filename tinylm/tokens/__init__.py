"""`artifacts/tokens`: the streams of ids, and what describes and protects them."""
