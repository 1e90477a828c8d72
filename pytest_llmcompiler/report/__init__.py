"""What a session tells: records, pass@k, and the table at the end."""
