import sys
from pathlib import Path

here = Path(__file__).parent
sys.path += [str(here), str(here.parent / "data")]  # learn_toys, which the worker script reads as well; small_dataset
