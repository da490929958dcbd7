"""What all networks share, apart from any paper: descriptions, options, checks, weights, cost."""
