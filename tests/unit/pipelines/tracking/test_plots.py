import cv2
import numpy as np
import pytest

from pipelines.tracking.plots import PANELS, STYLES, confusion, curves

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("num_classes", [2, 16, 60, 400])
def test_confusion_matrix_of_any_size_is_readable(tmp_path, num_classes):
    counts = np.diag(np.arange(num_classes) + 1)
    path = tmp_path / "confusion.png"
    confusion(counts, [f"raise both arms slowly {i}" for i in range(num_classes)], "title", path)
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert min(picture.shape) > 300
    assert max(picture.shape) < 2500
    # nothing is cut: a white margin on all sides
    assert (picture[0] == 255).all()
    assert (picture[-1] == 255).all()
    assert (picture[:, 0] == 255).all()
    assert (picture[:, -1] == 255).all()


def test_a_class_without_videos_is_an_empty_row(tmp_path):
    confusion(np.array([[3, 0], [0, 0]]), ["a", "b"], "title", tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 0


def test_curves_are_drawn_from_whatever_was_logged(tmp_path):
    curves({"train/loss": [(10, 2.0), (20, 1.0)]}, "run", tmp_path / "curves.png")
    assert cv2.imread(str(tmp_path / "curves.png")).shape == (770, 1210, 3)


def test_no_two_lines_of_a_panel_look_alike():
    for _, _, lines in PANELS:
        if len(lines) > 1:
            assert len({STYLES[label] for label in lines.values()}) == len(lines)
