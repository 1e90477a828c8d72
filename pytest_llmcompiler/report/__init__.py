"""The results of a session: records, pass@k, the table, the page, the baseline and comparisons."""
