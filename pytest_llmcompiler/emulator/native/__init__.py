"""Candidates on the processor itself, in a confined process."""
