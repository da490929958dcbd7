"""Small real datasets in the folders, names and list formats in which the public ones are published.

Each function writes one below a folder and returns the source to prepare: two classes, at least four training and two
test videos of 20 frames of 64 x 48 pixels, in the container of the real set.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np

from tasks.video.codecs import jpeg_rgb, write_mp4

FRAMES = 20
UCF101 = ("Archery", "HandstandPushups")
"""Files of the second are called v_HandStandPushups, as in the real dataset."""
HMDB51 = ("brush_hair", "clap")
KINETICS = ("air drumming", "petting animal (not cat)")
HACS = ("Archery", "Applying sunscreen")
MOMENTS = ("adult+female+singing", "blocking")
SSV2 = ("Holding [something] next to [something]", "[Something] falling like a feather or paper")
SSV1 = ("Holding something", "Something falling like a feather or paper")
JESTER = ("Swiping Left", "Thumb Up")
DIVING48 = (["Back", "15som", "05Twis", "FREE"], ["Forward", "35som", "NoTwis", "PIKE"])


def images(label: int, number: int, frames: int = FRAMES) -> np.ndarray:
    """Draw stripes in the colour of the class that move in its direction: uint8 [frames, 48, 64, 3]."""
    ys, xs = np.mgrid[0:48, 0:64]
    steps = np.arange(frames)[:, None, None] * (1 - 2 * label)
    wave = 127 + 100 * np.sin((xs + 2 * steps + 5 * number) / 7) * np.cos(ys / 5)
    return np.stack([wave, wave * label, wave * (1 - label)], -1).astype(np.uint8)


def mp4(path: Path, label: int, number: int, frames: int = FRAMES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(path, images(label, number, frames), 10)


def encoded(path: Path, codec: str, label: int, number: int) -> None:
    """Write a video by any encoder, in the container that the ending names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 500_000
        stream.thread_count = 1  # starting threads takes longer than these few pixels
        if codec == "libvpx":
            stream.options = {"deadline": "realtime", "cpu-used": "8"}
        for image in images(label, number):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode(None))


def jpegs(folder: Path, label: int, number: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, data in enumerate(jpeg_rgb(images(label, number)), 1):
        (folder / f"{index:05d}.jpg").write_bytes(data)


def write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def ucf101(root: Path) -> Path:
    """Write eight videos; split 1 tests group 1 of each class, split 2 group 2, split 3 group 3."""
    names: dict[str, int] = {}
    for label, name in enumerate(UCF101):
        for group in range(1, 5):
            file = f"{name}/v_{name.replace('Handstand', 'HandStand')}_g{group:02d}_c01.avi"
            encoded(root / "UCF-101" / file, "mpeg4", label, group)
            names[file] = label + 1
    lists = root / "ucfTrainTestlist"
    write(lists / "classInd.txt", (f"{number} {name}" for number, name in enumerate(UCF101, 1)))
    for fold in (1, 2, 3):
        train = [f"{file} {number}" for file, number in names.items() if f"_g{fold:02d}_" not in file]
        write(lists / f"trainlist{fold:02d}.txt", train)
        write(lists / f"testlist{fold:02d}.txt", (file for file in names if f"_g{fold:02d}_" in file))
    return root


def hmdb51(root: Path) -> Path:
    """Write ten videos with odd characters in their names; each split trains on six, tests two and leaves two out."""
    sources = ("#20_Rhythm", "(HQ)_Rock_&_Roll", "April_09", "Bob;s_[Dialogue]_1.5", "winKen")
    for label, name in enumerate(HMDB51):
        files = [f"{source}_{name}_u_nm_np1_ba_goo_{number}.avi" for number, source in enumerate(sources)]
        for number, file in enumerate(files):
            encoded(root / name / file, "mpeg4", label, number)
        for fold in (1, 2, 3):
            flags = [2 if number == fold else 0 if number == fold + 1 else 1 for number in range(len(files))]
            lines = (f"{file} {flag} " for file, flag in zip(files, flags, strict=True))
            write(root / "testTrainMulti_7030_splits" / f"{name}_test_split{fold}.txt", lines)
    return root


def kinetics(root: Path) -> Path:
    """Write six clips in class folders, with a list of the test part without labels."""
    header = ["label", "youtube_id", "time_start", "time_end", "split"]
    for part, split, count in (("train", "train", 2), ("val", "validate", 1)):
        rows = []
        for label, name in enumerate(KINETICS):
            for number in range(count):
                video, start = f"{'-_'[number % 2]}{part[0]}QUuC4vJ{label}{number}", 84 + number
                mp4(root / part / name / f"{video}_{start:06d}_{start + 10:06d}.mp4", label, number)
                rows.append([name, video, start, start + 10, split])
        write_csv(root / f"{part}.csv", [header, *rows])
    write_csv(root / "test.csv", [header[1:], ["--65_UAU7ao", 0, 10, "test"]])
    return root


def hacs(root: Path) -> Path:
    """Write six clips of two seconds in whole videos of four, two negative ones and one of the test part."""
    rows = [["classname", "youtube_id", "subset", "start", "end", "label"]]
    for label, name in enumerate(HACS):
        for subset, starts in (("training", (0.0, 1.5)), ("validation", (1.0,))):
            video = f"{subset[0]}2X2hz1G6i{label}"
            mp4(root / name.replace(" ", "_") / f"v_{video}.mp4", label, len(starts), 40)
            rows += [[name, video, subset, str(start), str(start + 2), "1"] for start in starts]
        rows.append([name, f"t2X2hz1G6i{label}", "training", "2.0", "4.0", "-1"])
    rows.append(["", "NUdji_CqvcY", "testing", "7.5", "9.5", ""])
    write_csv(root / "HACS_v1.1.1" / "HACS_clips_v1.1.1.csv", rows)
    return root


def moments(root: Path) -> Path:
    for file, folder, count in (("trainingSet", "training", 2), ("validationSet", "validation", 1)):
        rows = []
        for label, name in enumerate(MOMENTS):
            for number in range(count):
                path = f"{name}/yt-{folder[0]}xQfALnTdfc_{label}{number}.mp4"
                mp4(root / folder / path, label, number)
                rows.append([path, name, 3, number])
        write_csv(root / f"{file}.csv", rows)
    write(root / "moments_categories.txt", (f"{name},{number}" for number, name in enumerate(MOMENTS)))
    return root


def _twentybn(classes: tuple[str, ...]) -> dict[str, list[tuple[int, str]]]:
    """Return id and class of each video: four to train, two to validate, two to test."""
    counts = {"train": 2, "validation": 1, "test": 1}
    parts: dict[str, list[tuple[int, str]]] = {part: [] for part in counts}
    ids = iter(range(1, 100))
    for part, count in counts.items():
        for name in classes:
            parts[part] += [(next(ids), name) for _ in range(count)]
    return parts


def ssv2(root: Path) -> Path:
    parts = _twentybn(SSV2)
    prefix = "something-something-v2"
    for part, videos in parts.items():
        entries = []
        for video, template in videos:
            encoded(root / f"20bn-{prefix}" / f"{video}.webm", "libvpx", SSV2.index(template), video)
            full = {"id": str(video), "label": template.lower(), "template": template, "placeholders": ["potato"]}
            entries.append({"id": str(video)} if part == "test" else full)
        (root / f"{prefix}-{part}.json").write_text(json.dumps(entries))
    classes = {name.replace("[", "").replace("]", ""): str(number) for number, name in enumerate(SSV2)}
    (root / f"{prefix}-labels.json").write_text(json.dumps(classes))
    return root


def _frame_folders(root: Path, prefix: str, classes: tuple[str, ...]) -> Path:
    for part, videos in _twentybn(classes).items():
        for video, label in videos:
            jpegs(root / f"20bn-{prefix}" / str(video), classes.index(label), video)
        lines = (str(video) if part == "test" else f"{video};{label}" for video, label in videos)
        write(root / f"{prefix}-{part}.csv", lines)
    write(root / f"{prefix}-labels.csv", classes)
    return root


def ssv1(root: Path) -> Path:
    return _frame_folders(root, "something-something-v1", SSV1)


def jester(root: Path) -> Path:
    return _frame_folders(root, "jester-v1", JESTER)


def diving48(root: Path) -> Path:
    """Write six videos that are cut from three."""
    for part, count in (("train", 2), ("test", 1)):
        entries = []
        for label in range(len(DIVING48)):
            for number in range(count):
                name = f"-mmq0PT-u{part[1]}{number}_00{label}5{number}"
                mp4(root / "rgb" / f"{name}.mp4", label, number)
                entries.append({"vid_name": name, "label": label, "start_frame": 0, "end_frame": FRAMES})
        (root / f"Diving48_V2_{part}.json").write_text(json.dumps(entries))
    (root / "Diving48_vocab.json").write_text(json.dumps(DIVING48))
    return root
