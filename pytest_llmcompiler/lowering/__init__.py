"""LLVM IR and pass lists become assembly, and the texts of answers are compared with the reference's."""
