"""The compiled kernels: they agree with OpenCV, give the same bits on every processor, and compile once per machine."""

import os
import shutil
import stat
import subprocess
import sys

import cv2
import numpy as np
import pytest
from paths import ROOT, VIDEOS
from textures import CHANGES, difference, drawn, kernels_digest

from tasks.video import TVL1, decode, tvl1
from tasks.video.flow import to_gray

CLIPS = {
    "UCF101": "odd_files/c3d/*ApplyEyeMakeup_g01_c01.avi",
    "ta_chi": "odd_files/st-gcn/resource_media_ta_chi.mp4",
    "gestures": "arm_gestures/A1/PS7A1P1T1.avi",
}


@pytest.mark.quick
@pytest.mark.parametrize("size", [(96, 128), (95, 121), (40, 41), (17, 90), (90, 17), (16, 16), (9, 7), (2, 3)])
def test_agrees_with_opencv_at_any_size(size):
    gray = drawn(*size)
    assert difference(tvl1(gray), tvl1(gray, backend="opencv")) <= 0.01


@pytest.mark.quick
@pytest.mark.parametrize("change", [*CHANGES, {"scales": 9, "scale_step": 0.9}, {"outer_iterations": 2}])
def test_agrees_with_opencv_under_each_setting(change):
    gray, settings = drawn(75, 83), TVL1(**change)
    assert difference(tvl1(gray, settings), tvl1(gray, settings, "opencv")) <= 0.01


@pytest.mark.quick
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1)])
def test_images_of_a_line_are_no_accident(size):
    """OpenCV reads beyond the image there, so there is nothing to agree with."""
    gray = np.repeat(drawn(*size, frames=1), 2, axis=0)
    assert np.abs(tvl1(gray)).max() <= 1e-3


@pytest.mark.quick
def test_a_pair_has_the_same_flow_in_any_stack():
    gray = drawn(64, 70, frames=4)
    alone = np.concatenate([tvl1(gray[first : first + 2]) for first in range(3)])
    assert np.array_equal(tvl1(gray), alone)
    assert np.array_equal(tvl1(np.asfortranarray(gray)), alone)


@pytest.mark.quick
@pytest.mark.parametrize("settings", [{"theta": 1e-30}, {"theta": 1e30}, {"tau": 1e38}, {"lambda_": 1e30}])
def test_absurd_settings_stay_inside_the_image(settings):
    gray = drawn(33, 35)
    assert np.array_equal(tvl1(gray, TVL1(**settings)), tvl1(gray, TVL1(**settings)), equal_nan=True)


@pytest.mark.parametrize("clip", CLIPS)
def test_agrees_with_opencv_on_real_clips(clip):
    if not VIDEOS.is_dir():
        pytest.skip("no real videos: set MAREY_TEST_VIDEOS")
    images = decode(str(next(VIDEOS.glob(CLIPS[clip])))).images[20:23]
    gray = to_gray(np.stack([cv2.resize(image, (340, 256), interpolation=cv2.INTER_AREA) for image in images]))
    assert np.linalg.norm(tvl1(gray) - tvl1(gray, backend="opencv"), axis=1).mean() <= 0.02


PROGRAM = f"""
import sys
import numpy as np
from tasks.video.native.kernels import solver
sys.path.append({str(ROOT / "tests/helpers")!r})
from textures import kernels_digest
digest = kernels_digest(np.load(sys.argv[1]))
print(sum(solver().stats.cache_misses.values()), digest)
"""


def start(root, gray, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(gray)],
        cwd=root,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    misses, digest = output.split()
    return int(misses), digest


def test_compiled_once_with_the_same_bits_for_another_processor_and_anew_for_other_sources(tmp_path):
    gray = drawn(75, 83)
    np.save(tmp_path / "gray.npy", gray)
    here = kernels_digest(gray)
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "tasks", tree / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    # The oldest x86-64: no AVX, no FMA, not even an instruction for rounding down.
    oldest = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    together = [start(tree, tmp_path / "gray.npy", **oldest) for _ in range(3)]
    results = [finish(process) for process in together]
    assert sorted(misses for misses, _ in results) == [0, 0, 1]
    assert {digest for _, digest in results} == {here}

    solver = tree / "tasks/video/native/median.py"
    solver.write_text(solver.read_text().replace("q13, maximum(q12", "q13, maximum(q11"))
    misses, digest = finish(start(tree, tmp_path / "gray.npy", **oldest))
    assert misses == 1
    assert digest != here


@pytest.mark.campaign
def test_without_any_writable_folder_but_that_for_temporary_files(tmp_path):
    """Neither the installed packages nor the home can be written to."""
    gray = drawn(40, 41)
    np.save(tmp_path / "gray.npy", gray)
    tree, temporary = tmp_path / "tree", tmp_path / "temporary"
    shutil.copytree(ROOT / "tasks", tree / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "tasks/video/native/__pycache__").touch()
    temporary.mkdir()
    nowhere = {"HOME": "/dev/null/home", "XDG_CACHE_HOME": "/dev/null/cache", "NUMBA_CACHE_DIR": "/dev/null/numba"}
    environment = {**nowhere, "TMPDIR": str(temporary), "PYTHONPATH": ""}
    together = [start(tree, tmp_path / "gray.npy", **environment) for _ in range(2)]
    results = [finish(process) for process in together]
    assert sorted(misses for misses, _ in results) == [0, 1]
    assert {digest for _, digest in results} == {kernels_digest(gray)}
    (folder,) = temporary.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    folder.chmod(0o777)  # as another user might have made it, who then decides what is run
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "gray.npy")],
        cwd=tree,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    (said,) = [line for line in done.stderr.splitlines() if "cannot be cached" in line]
    assert "set NUMBA_CACHE_DIR to a writable folder" in said
    assert done.stdout.split()[-1] == kernels_digest(gray)
