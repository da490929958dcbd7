"""What all networks share and no paper describes: descriptions, options, checks, weights, cost."""
