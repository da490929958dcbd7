"""Where the work runs: attach to Ray, start a cluster, submit to one, serve MLflow."""
