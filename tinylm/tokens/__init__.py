"""`artifacts/tokens`: the streams of token ids, with their description and checksums."""
