"""What can be asked of `python -m tinylm`: one file for each subcommand.

Each has `add_parser(subparsers)`, which declares its options and sets `run`, the function of the parsed
options that does it and gives the exit code. What takes long to import (torch, aiohttp) is imported by `run`.
"""
