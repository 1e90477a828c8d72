"""The model: what it is asked, which backend answers, and how code is found in an answer."""
