"""The tasks beside `asm`: how LLVM IR and pass lists become machine code, and what is measured of them."""
