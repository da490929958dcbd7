"""The workflows: prepare, train, tune, evaluate, predict, run; their command line and recipes."""
