"""``frnet evaluate``: networks and other people's predictions, tables, files and errors."""

from __future__ import annotations

import csv
import json
import re
import shutil

import cv2
import numpy as np
import pytest
from support.commands import caller
from support.plots import check_curve, curves_of

from frnet.evaluate import (
    crop_files,
    evaluate_aflw2000,
    list_aflw2000,
    measure,
    predict_crops,
    read_aflw2000_configs,
    read_list,
    read_predictions,
    truth_of_aflw2000,
)

# As read off FACTS of the field; the table must show them to the digit.
PUBLISHED_AFLW2000 = {
    "ResNeXt50": "3.122 4.065 5.351 4.179 0.913",
    "MobileNetV2": "3.236 4.080 5.181 4.165 0.796",
    "DenseNet121": "3.051 3.912 5.297 4.087 0.925",
    "Mobile-FRNet, no attention": "2.962 3.856 4.991 3.936 0.830",
    "Mobile-FRNet": "2.930 3.799 4.768 3.832 0.751",
    "3DDFA": "3.780 4.540 7.930 5.420 2.210",
    "3DDFA+SDM": "3.430 4.240 7.170 4.940 1.970",
    "3DSTN": "3.150 4.330 5.980 4.490 -",
    "DeFA": "- - - 4.500 -",
    "Nonlinear 3DMM": "- - - 4.700 -",
    "DAMDNet": "2.907 3.830 4.953 3.897 0.837",
}
PUBLISHED_AFLW = {
    "ResNeXt50": "4.599 5.516 6.297 5.471 0.694",
    "MobileNetV2": "4.643 5.581 6.397 5.540 0.716",
    "DenseNet121": "4.442 5.249 6.168 5.286 0.705",
    "Mobile-FRNet, no attention": "4.371 5.199 6.031 5.201 0.678",
    "Mobile-FRNet": "4.199 4.862 5.668 4.910 0.601",
    "3DDFA": "5.000 5.060 6.740 5.600 0.990",
    "3DDFA+SDM": "4.750 4.830 6.380 5.320 0.920",
    "DAMDNet": "4.359 5.209 6.028 5.199 0.682",
}


@pytest.fixture
def network(shared) -> list:
    weights, basis = shared / "3ddfa/weights/mb05_120x120.pth", shared / "3ddfa/landmark_basis"
    return ["--weights", weights, "--model", basis, "--name", "mb05"]


@pytest.fixture
def folder(shared):
    return shared / "aflw2000-3d-sample"


@pytest.fixture
def run(monkeypatch, capfd):
    return caller(monkeypatch, capfd, "evaluate")


def rows_of(text: str) -> dict[str, list[str]]:
    """First cell to the others, of every table in a text."""
    lines = [line for line in text.splitlines() if re.match(r"[│|] ", line)]
    cells = [[cell.strip() for cell in re.split("[│|]", line)[1:-1]] for line in lines]
    return {row[0]: row[1:] for row in cells}


def golden_file(golden, path, **arrays):
    landmarks = golden["aflw2000_pred"].transpose(0, 2, 1)
    np.savez(path, **{"landmarks": landmarks, "frame": "crop120", "method": "golden", **arrays})
    return path


def test_somebody_elses_predictions(run, configs, golden, tmp_path):
    """The published table, what 3DDFA's evaluator prints under it, and every row's protocol."""
    path = golden_file(golden, tmp_path / "golden.npz")
    result = run(configs, "--predictions", path, "--annotation", "all", "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    markdown = (tmp_path / "out/table.md").read_text()
    for rows in (rows_of(result.stdout), rows_of(markdown)):
        for name, figures in PUBLISHED_AFLW2000.items():
            assert rows[name][2:7] == figures.split()
            assert rows[name][-1] == "[P]"
        assert rows["Mobile-FRNet"][:2] == ["2.60", "0.120"]
        for annotation, key in (("original", ""), ("reannotated", "reannotated_")):
            row = rows[f"golden, annotation {annotation}, roi 3ddfa-compat"]
            assert row[2:7] == [f"{value:.3f}" for value in golden[f"aflw2000_{key}expected"]]
            low, high = map(float, row[7].split(" to "))
            assert low < float(row[5]) < high
    for mark, text in (
        ("[P]", "published figures, from the slides of Mobile-FRNet"),
        ("[1]", "AFLW2000-3D, 2000 images; 68 points, annotation original; bins of |yaw| 1312/383/305"),
        ("[2]", "roi exact; predictions and ground truth both count from 1"),
        ("[3]", "annotation reannotated"),
    ):
        assert re.search(re.escape(f"{mark}") + r"[^\[]*" + re.escape(text), markdown)


def test_files_that_are_written(run, configs, golden, tmp_path):
    path = golden_file(golden, tmp_path / "golden.npz")
    out = tmp_path / "out"
    assert run(configs, "-p", path, "--split", "all", "--roi", "3ddfa-compat", "-o", out).returncode == 0
    assert {entry.name for entry in out.iterdir()} == {
        *("table.md", "per_image.csv", "results.json", "curve.csv", "curve.png", "curve.svg"),
    }
    with open(out / "per_image.csv", newline="") as file:
        header, *lines = csv.reader(file)
    assert len(lines) == 2000
    assert header[0] == "image"
    assert header[1:3] == ["yaw_degrees: pose (AFLW2000-3D.pose.npy)", "yaw_degrees: new (AFLW2000-3D-new.pose.npy)"]
    np.testing.assert_allclose([float(line[3]) for line in lines[:50]], 100 * golden["aflw2000_nme_head"], atol=2e-6)
    record = json.loads((out / "results.json").read_text())
    first = record["sparse"][0]
    assert first["nme_percent"]["mean"] == pytest.approx(golden["aflw2000_expected"][3], abs=1e-6)
    assert first["protocol"]["counts"] == [1312, 383, 305]
    assert record["sparse"][1]["protocol"]["counts"] == [1306, 462, 232]
    assert first["bootstrap"]["seed"] == record["settings"]["seed"] == 0
    assert record["settings"]["predictions"] == [str(path)]
    assert {"frnet", "numpy", "torch"} <= record["versions"].keys()
    errors = measure(read_predictions(path), read_aflw2000_configs(configs)).nme_percent
    curves = curves_of(out / "curve.svg", 10, 100)
    assert len(curves) == 2  # by both splits, which make no difference to the curve
    for curve in curves:
        check_curve(curve, errors)
    assert cv2.imread(str(out / "curve.png")).shape == (810, 1050, 3)


def test_a_network_on_images(run, folder, network, tmp_path):
    """3.415 % from image files to the table, and both roi rules."""
    result = run(folder, *network, "--out", tmp_path / "out", "--worst", "4")
    assert result.returncode == 0, result.stderr
    rows = rows_of(result.stdout)
    assert rows["mean"] == ["", "3.415", "3.445"]
    assert rows["image04331.jpg"][0] == "45.5"
    *_, compat, exact = rows_of((tmp_path / "out/table.md").read_text().split("### Pose")[0]).values()
    assert compat[8] == "3.415"
    assert exact[8] == "3.445"
    assert compat[7] == exact[7] == "-"  # one image beyond 60 degrees has no interval
    words = result.stdout.replace("\n", " ")
    assert "bins of |yaw| 5/2/1 by Pose_Para; roi 3ddfa-compat; predictions count from 0" in words
    sheets = sorted((tmp_path / "out").glob("worst_*.png"))
    assert [path.name for path in sheets] == ["worst_mb05_roi_3ddfa-compat.png", "worst_mb05_roi_exact.png"]
    assert cv2.imread(str(sheets[0])).shape == (56 + 286, 4 * 246 + 6, 3)
    record = json.loads((tmp_path / "out/results.json").read_text())
    assert record["pose"][0]["mae_degrees"]["mean"] < 4
    assert record["sparse"][0]["bootstrap"]["nme_percent"]["mean"] == [None, None]
    assert record["whitening"].startswith("file: ")


def test_images_without_a_face(run, shared, folder, network, tmp_path):
    """A blank picture has a row for its ground-truth crop, and none for the detector; every file is written."""
    own = tmp_path / "own"
    own.mkdir()
    shutil.copy(folder / "image00050.mat", own)
    cv2.imwrite(str(own / "image00050.jpg"), np.full((450, 450, 3), 128, np.uint8))
    detector = next((shared / "yunet").glob("*.onnx"))
    result = run(own, *network, "--detector", detector, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert rows_of(result.stdout)["image00050.jpg"][3] == "no face"
    assert "no face in 1 of 1 images (image00050.jpg); the means leave them out" in result.stdout
    rows = rows_of((tmp_path / "out/table.md").read_text())
    assert rows["mb05, roi detector, 2 passes"][2:9] == ["-"] * 7
    assert (tmp_path / "out/per_image.csv").read_text().splitlines()[1].endswith(",")
    assert len(list((tmp_path / "out").glob("worst_*.png"))) == 2
    assert json.loads((tmp_path / "out/results.json").read_text())["sparse"][2]["nme_percent"]["mean"] is None


def test_matched_coordinates(run, folder, network):
    """Ground truth and the crops it gives brought to our first pixel: 3.341 % on the eight images."""
    result = run(folder, *network, "--coordinates", "matched", "--roi", "3ddfa-compat")
    assert rows_of(result.stdout)["mean"] == ["", "3.341"]
    assert "predictions and ground truth matched to count alike" in result.stdout.replace("\n", " ")


def test_round_trip_of_a_networks_landmarks(run, folder, network, make_aligner, tmp_path):
    """Our own landmarks, written as the documentation says, come back as the same figures."""
    evaluation = evaluate_aflw2000(make_aligner(), list_aflw2000(folder))
    landmarks = np.stack([face.landmarks for face in evaluation.faces])
    pose = np.array([face.pose for face in evaluation.faces])
    np.savez(tmp_path / "mine.npz", landmarks=landmarks, names=evaluation.names, frame="image", pose=pose)
    result = run(folder, *network, "--roi", "3ddfa-compat", "-p", tmp_path / "mine.npz", "-o", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "out/results.json").read_text())
    ours, file = record["sparse"]
    assert (ours["method"], file["method"]) == ("mb05, roi 3ddfa-compat", "mine")
    assert file["nme_percent"]["bins"] == pytest.approx(ours["nme_percent"]["bins"], rel=1e-6)
    assert file["protocol"]["roi"] == "the method's own"
    assert record["pose"][0]["mae_degrees"] == pytest.approx(record["pose"][1]["mae_degrees"], rel=1e-6)
    assert len(list((tmp_path / "out").glob("worst_*.png"))) == 2


def test_a_network_on_published_crops(small_configs, crops, folder, make_aligner):
    """The same faces as from the images, one crop pixel apart as 3DDFA's two versions are."""
    truth = read_aflw2000_configs_of_eight(small_configs)
    aligner = make_aligner()
    predictions = predict_crops(aligner, crop_files(crops), truth, "mb05", batch=3)
    result = measure(predictions, truth, "exact")
    whole = truth.boxes.of("exact")
    samples = list_aflw2000(folder)
    faces = aligner([sample.image for sample in samples], rois=list(whole[:, None]))
    landmarks = np.stack([face.landmarks for (face,) in faces])[..., :2]
    apart = ((whole[:, 2:] - whole[:, :2]) / 120)[:, None]
    np.testing.assert_allclose(result.prediction, landmarks + apart, atol=2e-3)
    assert result.sample_mean < 4
    with pytest.raises(ValueError, match=r"looked at .* of image00050\.png, not at all of it: .*passes=1"):
        predict_crops(make_aligner(passes=2), crop_files(crops), truth, "mb05")


def read_aflw2000_configs_of_eight(folder):
    truth = read_aflw2000_configs(folder)
    assert len(truth) == 8
    return truth


def test_command_on_published_crops(run, small_configs, crops, network, tmp_path):
    names = [path.name for path in sorted(crops.iterdir())]
    (tmp_path / "crops.list").write_text("\n".join(names) + "\n")
    arguments = [small_configs, *network, "--crops", crops]
    plain = run(*arguments)
    listed = run(*arguments, "--list", tmp_path / "crops.list", "--out", tmp_path / "out")
    assert plain.returncode == listed.returncode == 0, plain.stderr + listed.stderr
    assert rows_of(plain.stdout)["mb05, roi exact"] == rows_of(listed.stdout)["mb05, roi exact"]
    assert (tmp_path / "out/per_image.csv").read_text().splitlines()[1].startswith("image00050.png,0.9391,")
    assert len(list((tmp_path / "out").glob("worst_*.png"))) == 2


def test_crops_that_do_not_match(run, small_configs, crops, network, tmp_path):
    arguments = [small_configs, *network, "--crops", crops]
    listing = tmp_path / "crops.list"
    names = [path.name for path in sorted(crops.iterdir())]
    for lines, message in (
        ([*names[:-1], "image99999.jpg"], r"lacks 1 of 8 images: image99999\.jpg"),
        (names[:-1], "holds 8 faces, and there are 7 crops"),
        ([*names, names[0]], r"names image00050\.png twice"),
        ([], "names no crop"),
    ):
        listing.write_text("\n".join(lines))
        result = run(*arguments, "--list", listing)
        assert result.returncode == 1
        assert re.search(message, result.stderr)
    (crops / names[3]).write_bytes((crops / names[3]).read_bytes()[:300])
    assert re.search(r"image00514\.png is truncated", run(*arguments).stderr)
    cv2.imwrite(str(crops / names[3]), np.zeros((100, 120, 3), np.uint8))
    assert re.search(r"image00514\.png must be 120 x 120, got 120 x 100", run(*arguments).stderr)
    (crops / names[3]).unlink()
    assert re.search("holds 8 faces, and there are 7 crops", run(*arguments).stderr)
    with pytest.raises(NotADirectoryError, match="nowhere"):
        crop_files(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no image"):
        crop_files(tmp_path / "empty")
    listing.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(ValueError, match="expected a text file of names"):
        read_list(listing)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_list(tmp_path / "none.list")


def test_aflw_table(run, configs, tmp_path):
    for path in configs.glob("AFLW_GT*"):
        (tmp_path / path.name).symlink_to(path)
    rng = np.random.default_rng(0)
    np.save(tmp_path / "AFLW_GT_pts68.npy", rng.uniform(100, 300, (21080, 3, 68)).astype(np.float32))
    np.savez(tmp_path / "p.npz", landmarks=rng.uniform(20, 100, (21080, 68, 2)).astype(np.float32), frame="crop120")
    result = run(tmp_path, "--data", "aflw", "-p", tmp_path / "p.npz", "-o", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "note: roi exact is left out" in result.stderr  # these boxes are not those of the landmarks made up here
    rows = rows_of((tmp_path / "out/table.md").read_text())
    for name, figures in PUBLISHED_AFLW.items():
        assert rows[name][2:7] == figures.split()
    assert "DeFA" not in rows
    assert "AFLW, 21080 images; 21 points" in result.stdout
    assert "11596/5457/4027" in result.stdout


def test_dense_truth(run, folder, network, make_aligner, tmp_path):
    """Meshes moved by (3, 4) pixels have the same error in 2D and 3D, and none in shape."""
    evaluation = evaluate_aflw2000(make_aligner(), list_aflw2000(folder))
    vertices = np.stack([face.vertices for face in evaluation.faces])
    np.savez(tmp_path / "t.npz", vertices=vertices + np.float32([3, 4, 9]), names=evaluation.names, outer_eyes=[36, 45])
    result = run(folder, *network, "--roi", "3ddfa-compat", "--dense-truth", tmp_path / "t.npz", "-o", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    (dense,) = json.loads((tmp_path / "out/results.json").read_text())["dense"]
    size = np.sqrt(np.ptp(vertices[..., :2], axis=1).prod(-1))
    expected = np.mean(500 / size)
    assert dense["nme_percent"]["2d"] == pytest.approx(expected, rel=1e-4)
    assert dense["nme_percent"]["3d"] == pytest.approx(expected, rel=1e-4)
    assert dense["nme_percent"]["reconstruction"] < 1e-3
    assert "68 of 68 vertices" in dense["protocol"]
    assert "reconstruction_nme_percent: mb05" in (tmp_path / "out/per_image.csv").read_text()


def test_several_files_share_a_plot(run, folder, tmp_path):
    truth = truth_of_aflw2000(list_aflw2000(folder))
    for name, shift in (("a", 1), ("b", 2)):
        np.savez(tmp_path / f"{name}.npz", landmarks=truth.points + shift, frame="image", method="same")
    files = [part for name in "ab" for part in ("-p", tmp_path / f"{name}.npz")]
    result = run(folder, *files, "--out", tmp_path / "out", "--bootstrap", "0", "--worst", "0")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out/curve.csv").read_text().startswith("nme_percent,same,same (2)\n")
    assert not list((tmp_path / "out").glob("worst*"))
    assert rows_of(result.stdout)["same"][7] == ""


def test_missing_and_damaged_files(run, folder, network, golden, configs, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(folder, own)
    (own / "image02545.jpg").unlink()
    assert "image02545.mat has no image beside it: image02545.jpg is missing" in run(own, *network).stderr
    (own / "image02545.jpg").write_bytes(b"garbage")
    result = run(own, *network)
    assert result.returncode == 1
    assert "image02545.jpg cannot be decoded" in result.stderr
    (own / "image02545.mat").write_bytes(b"garbage")
    assert "image02545.mat is not a readable MAT file" in run(own, *network).stderr
    broken = golden["aflw2000_pred"].transpose(0, 2, 1).astype(np.float32)
    broken[77, 0, 0] = np.nan
    result = run(configs, "-p", golden_file(golden, tmp_path / "bad.npz", landmarks=broken))
    assert result.returncode == 1
    assert re.search(r"error: predictions .*bad\.npz: landmarks of face 77: NaN", result.stderr)
    assert "Traceback" not in result.stderr


def test_options_that_contradict_each_other(run, folder, configs, network, golden, tmp_path):
    file = golden_file(golden, tmp_path / "golden.npz")
    weights = network[:2]
    for arguments, message in (
        ([folder, *weights], "also needs --model: it is not known to be trained for the built-in face"),
        ([configs, *network], "also needs --crops DIR"),
        ([configs, *network, "--crops", folder, "--data", "aflw"], "also needs --list FILE"),
        ([configs, *network, "--crops", folder, "--detector", file], "--detector is for folders of images"),
        ([folder, "-p", file, "--split", "new"], "are for 3DDFA's test.configs"),
        ([folder, "-p", file, "--crops", folder], "are for 3DDFA's test.configs"),
        ([configs, "-p", file, "--data", "aflw", "--split", "new"], "AFLW has one of each"),
        ([configs, "-p", file, "--data", "300w"], "--data must be aflw2000 or aflw, got 300w"),
        ([configs, "-p", file, "--annotation", "new"], "--annotation must be original or reannotated or all"),
        ([configs, "-p", file, "--coordinates", "new"], "--coordinates must be as-stored or matched"),
        ([configs, "-p", file, "--reference", file], "--reference is for a network on a folder of images"),
        ([tmp_path / "none", "-p", file], "none"),
    ):
        result = run(*arguments)
        assert result.returncode == 2, (message, result.stderr)
        assert message.split()[0] in result.stderr
        assert message in re.sub(r"\s*│\n│\s*", " ", result.stderr)


def test_help_lists_the_options(run):
    text = run("--help").stdout
    options = ("predictions", "crops", "annotation", "split", "roi", "coordinates", "bootstrap", "dense-truth", "out")
    assert all(f"--{option}" in text for option in options)
