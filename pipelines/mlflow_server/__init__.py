"""`marey mlflow-server`: MLflow for several people and machines."""

from pipelines.mlflow_server.check import check as check
from pipelines.mlflow_server.places import places as places
from pipelines.mlflow_server.workflow import Running as Running
from pipelines.mlflow_server.workflow import serve as serve
