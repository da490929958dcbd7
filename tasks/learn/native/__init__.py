"""What networks compute with their operators, as machine code for a CPU."""
