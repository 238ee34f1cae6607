"""What every other room stands on: errors, configuration, files, runs, the runtime. Imports nothing of narrowcast."""
