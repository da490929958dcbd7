"""Where the work runs: attach to a Ray cluster, start one, submit jobs to it, serve MLflow."""
