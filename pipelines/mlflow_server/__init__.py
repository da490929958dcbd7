"""`marey mlflow-server`: MLflow for several people and machines."""

from pipelines.mlflow_server.workflow import Running as Running
from pipelines.mlflow_server.workflow import serve as serve
