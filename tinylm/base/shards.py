"""The names of files that are read as one."""


def shard_name(name: str, index: int, shards: int) -> str:
    """Return the name of one of several files, without its ending: train-00000-of-00012."""
    return f"{name}-{index:05}-of-{shards:05}"
