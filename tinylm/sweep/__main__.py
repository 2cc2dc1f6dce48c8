"""`python -m tinylm.sweep`."""

from tinylm.command_line import run_alone
from tinylm.sweep import command

run_alone(command)
