"""Data sets that people hold already, as folders of cases."""
