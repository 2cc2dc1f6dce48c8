"""What every stage stands on: parameters, errors in one line, files that appear whole or not at all."""
