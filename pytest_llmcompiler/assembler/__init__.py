"""Assembly text becomes machine code at addresses: parsers, two assemblers, and the linker of candidates."""
