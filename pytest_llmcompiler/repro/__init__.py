"""The folders of failing samples, with native programs that show the failure."""
