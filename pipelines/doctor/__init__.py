"""`marey doctor`: what works on this machine and on the cluster, what does not, and what to do about it."""

from pipelines.doctor.finding import Finding as Finding
from pipelines.doctor.workflow import Diagnosis as Diagnosis
from pipelines.doctor.workflow import diagnose as diagnose
from pipelines.doctor.workflow import to_text as to_text
