"""The work a worker does, as plain functions: no Ray, no MLflow."""
