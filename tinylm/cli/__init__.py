"""The subcommands of `tinylm`, also `python -m tinylm`, one file each.

Each file has `add_parser(subparsers)`, which declares the options and sets `run`. `run(options)` executes the
command and returns the exit code; it also imports what is slow to import (torch, aiohttp).
"""
