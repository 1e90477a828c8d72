"""The emulated machine: a program and a candidate in memory, their runs, and the observations of these."""
