"""`marey predict`: the most probable classes of videos, as a table or drawn on the video."""

from pipelines.predict.workflow import Prediction as Prediction
from pipelines.predict.workflow import predict as predict
