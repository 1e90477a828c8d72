"""From assembly text to bytes in memory, and the machine that runs them."""
