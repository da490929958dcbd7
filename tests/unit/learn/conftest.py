import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # learn_toys, which the worker script reads as well
