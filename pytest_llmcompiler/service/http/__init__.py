"""The judge over HTTP: `llmc serve`."""
