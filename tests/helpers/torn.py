"""Ways in which a checkpoint is torn or damaged."""

import json
import shutil


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def flip(file):
    """Turn one bit in the middle."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    file.write_bytes(bytes(data))


def change(file):
    """Put another step number: what remains is a checkpoint in every respect."""
    document = json.loads(file.read_text())
    document["position"]["step"] += 1
    file.write_text(json.dumps(document))


DAMAGES = {
    "weights cut": lambda folder: cut(folder / "weights.safetensors"),
    "weights flipped": lambda folder: flip(folder / "weights.safetensors"),
    "optimiser cut": lambda folder: cut(folder / "optimizer.safetensors"),
    "optimiser flipped": lambda folder: flip(folder / "optimizer.safetensors"),
    "document cut": lambda folder: cut(folder / "checkpoint.json"),
    "document flipped": lambda folder: flip(folder / "checkpoint.json"),
    "document changed": lambda folder: change(folder / "checkpoint.json"),
    "document nonsense": lambda folder: (folder / "checkpoint.json").write_text("[" * 9999),
    "weights missing": lambda folder: (folder / "weights.safetensors").unlink(),
    "optimiser missing": lambda folder: (folder / "optimizer.safetensors").unlink(),
    "document missing": lambda folder: (folder / "checkpoint.json").unlink(),
    "a folder for a file": lambda folder: [
        (folder / "weights.safetensors").unlink(),
        (folder / "weights.safetensors").mkdir(),
    ],
    "all missing": lambda folder: [shutil.rmtree(folder), folder.mkdir()],
}
