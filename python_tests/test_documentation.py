"""What the README and docs/ say: their Python runs, their options exist, their formulas and tables are true."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import table
import torch
import torch.nn.functional as F
import typer

from frnet import ops
from frnet.align import FaceAligner
from frnet.cli import app
from frnet.models import complexity, count_ops, create_model, list_models
from frnet.train import builtin_configs

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
FENCE = re.compile(
    r"(?P<note><!-- not run: .*? -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


def blocks(page: Path, language: str, section: str | None = None) -> list[str]:
    """Code of a page, of one section where it is named, without what is marked as not run."""
    text = page.read_text(encoding="utf-8")
    if section is not None:
        text = re.split(r"^##+ ", text.split(f"\n{section}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    found = FENCE.finditer(text)
    return [each["code"] for each in found if each["language"] == language and each["note"] is None]


@pytest.mark.parametrize("page", ["README.md", "docs/getting-started.md", "docs/concepts.md", "docs/evaluation.md"])
def test_the_python_of_a_page_runs(page, files, shared, tmp_path, monkeypatch, rng):
    """In a folder that has the files under the names that the pages give them."""
    for name in ("photo.jpg", "one.jpg", "two.jpg", "three.jpg"):
        shutil.copy(files.photo, tmp_path / name)
    for source in (files.weights, files.whitening_v2, files.grid, files.landmarks, files.yunet):
        (tmp_path / source.name).symlink_to(source)
    (tmp_path / "docs").symlink_to(DOCS)
    (tmp_path / "AFLW2000-3D").symlink_to(files.sample)
    (tmp_path / "test.configs").symlink_to(shared / "3ddfa" / "test.configs")
    monkeypatch.chdir(tmp_path)
    namespace = {
        "aligner": FaceAligner(),
        "frames": [np.zeros((90, 90, 3), np.uint8)],
        "pred": rng.uniform(1, 120, (2000, 2, 68)),
        "paths": [tmp_path / "one.jpg"],
        "my_model": lambda path: rng.uniform(0, 100, (68, 2)),
    }
    code = blocks(ROOT / page, "python")
    assert code
    for block in code:
        exec(compile(block, page, "exec"), namespace)


def test_the_readme_shows_what_comes_out():
    (face,) = FaceAligner()(DOCS / "assets" / "portrait.jpg")
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    def shown(row: str) -> list[float]:
        (cells,) = re.findall(rf"^\| `{row}.*$", text, re.MULTILINE)
        return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", cells.split("|")[3])]

    # Another OpenCV resizes a little otherwise.
    np.testing.assert_allclose(shown("face.pose"), face.pose, atol=0.3)
    np.testing.assert_allclose(shown("face.landmarks"), face.landmarks[30, :2], atol=1)
    np.testing.assert_allclose(shown("face.score"), face.score, atol=0.02)
    assert shown("face.vertices") == [len(face.vertices)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_is_python(page):
    for block in blocks(page, "python"):
        compile(block, page.name, "exec")


def test_the_page_of_examples_shows_every_example():
    shown = re.findall(r'^--8<-- "(examples/.*)"$', (DOCS / "examples.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(shown) == sorted(f"examples/{path.name}" for path in (ROOT / "examples").glob("*.py"))


def _commands() -> dict[str, Any]:
    return typer.main.get_command(app).commands


def _options(command: Any) -> set[str]:
    named = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    return {name for name in named if name.startswith("-")} | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_have_the_options_that_pages_use(page):
    known = _commands()
    for block in blocks(page, "sh"):
        for line in re.split(r"\n|&&|\|", block.replace("\\\n", " ")):
            words = line.split("#")[0].split()
            for start in (index for index, word in enumerate(words) if word == "frnet"):
                name, *rest = words[start + 1 :]
                if words[start - 1 : start] == ["install"] or name.startswith("--"):
                    continue
                options = _options(known[name] if name in known else known["align"])
                used = {word.split("=")[0] for word in rest if word.startswith("-") and word != "--"}
                assert used <= options, f"{page.name}: {line}: {sorted(used - options)}"


@pytest.mark.parametrize("name", sorted(_commands()))
def test_the_command_line_page_has_every_option(name):
    text = (DOCS / "command-line.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", text.split(f"\n## frnet {name}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    shown = set(re.findall(r"`(--[a-z-]+)`", section))
    options = {option for option in _options(_commands()[name]) if option.startswith("--")} - {"--help"}
    assert shown == options


def test_tables_come_from_the_published_runs():
    runs = sorted((ROOT / "bench" / "results").glob("*.json"))
    assert (DOCS / "benchmarks.md").read_text(encoding="utf-8") == table.page(runs)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    speed = table.speed_table({path.stem: json.loads(path.read_text()) for path in runs})
    assert speed.count("\n") == 2 + len(table.SPEED)
    assert f"{table.SPEED_MARKS[0]}\n{speed}\n{table.SPEED_MARKS[1]}" in readme


def test_the_program_of_the_cpp_page_compiles(tmp_path):
    compiler = shutil.which("c++") or pytest.skip("no C++ compiler")
    (source,) = blocks(DOCS / "cpp.md", "cpp")
    (tmp_path / "main.cpp").write_text(source)
    include = f"-I{ROOT / 'csrc' / 'include'}"
    subprocess.run(
        [compiler, "-std=c++17", "-fsyntax-only", "-Wall", "-Werror", include, tmp_path / "main.cpp"], check=True
    )


def test_the_page_of_ops_has_every_op():
    text = (DOCS / "ops.md").read_text(encoding="utf-8")
    functions = {name for name in ops.__all__ if name.islower()}
    assert functions - set(re.findall(r"[a-z0-9_]+", text)) == set()


class PlainTorch:
    """The names that docs/ops.md computes with, for one small stage."""

    def __init__(self, stride: int = 1) -> None:
        draw = torch.Generator().manual_seed(5)
        of = lambda *shape: torch.randn(*shape, generator=draw, dtype=torch.float64)  # noqa: E731
        self.batch, self.channels, self.height, self.width, self.groups, self.splits = 2, 12, 7, 9, 3, 4
        self.x = of(2, 12, 7, 9)
        self.weight, self.bias, self.scale, self.shift = of(12, 1, 3, 3), of(12), of(12), of(12)
        self.out_scale, self.out_shift = of(12), of(12)
        self.w1, self.b1, self.w2, self.b2 = of(4, 12), of(4), of(12, 4), of(12)
        self.sge_weight, self.sge_bias = of(3), of(3)
        self.bn_weight, self.bn_bias = of(12), of(12)
        self.running_mean, self.running_var = of(12), of(12).abs()
        self.options = dict(stride=stride, padding=1)
        self.epilogue = dict(scale=self.scale, shift=self.shift, activation="relu6")

    def run(self, section: str, **more: object) -> dict:
        """Names and values after the code of a section."""
        names = {**vars(self), "torch": torch, "F": F, **self.options, "dilation": 1, "training": True}
        names |= {"momentum": 0.1, "eps": 1e-5, "gate": torch.sigmoid, "se_gate": ops.se_gate, "sge_gate": ops.sge_gate}
        names |= more
        intro = next(block for block in blocks(DOCS / "ops.md", "python") if "def epilogue" in block)
        exec(intro, names)
        names["act"] = F.relu6
        if section.endswith("_gate"):  # whose linear layers have another activation, and other names
            names |= {"act": F.relu, "weight": self.sge_weight, "bias": self.sge_bias}
        for block in blocks(DOCS / "ops.md", "python", f"### {section}"):
            exec(block, names)
        return names

    def conv_of_split(self, index: int):
        part = slice(3 * index, 3 * index + 3)
        return lambda x: F.conv2d(x, self.weight[part], self.bias[part], **self.options, groups=3)

    def epilogue_of_split(self, index: int):
        part = slice(3 * index, 3 * index + 3)
        return lambda v: F.relu6(v * self.scale[part, None, None] + self.shift[part, None, None])


def _close(ours: torch.Tensor, shown: torch.Tensor) -> None:
    torch.testing.assert_close(ours, shown, rtol=1e-10, atol=1e-10)


def test_what_the_page_of_ops_says_depthwise_conv2d_equals():
    stage = PlainTorch(stride=2)
    shown = stage.run("depthwise_conv2d")
    y, means = ops.depthwise_conv2d(stage.x, stage.weight, stage.bias, **stage.options, **stage.epilogue, pooled=True)
    _close(y, shown["y"])
    _close(means, shown["means"])


def test_what_the_page_of_ops_says_the_gates_equal():
    stage = PlainTorch()
    layers = stage.w1, stage.b1, stage.w2, stage.b2
    _close(ops.se_gate(stage.x, *layers), stage.run("se_gate")["y"])
    _close(ops.sge_gate(stage.x, stage.sge_weight, stage.sge_bias, 3), stage.run("sge_gate")["y"])
    shown = stage.run("depthwise_conv2d_se, depthwise_conv2d_sge")
    sge = dict(sge_weight=stage.sge_weight, sge_bias=stage.sge_bias, groups=3)
    _close(ops.depthwise_conv2d_sge(stage.x, stage.weight, stage.bias, 1, 1, 1, **stage.epilogue, **sge), shown["y"])


@pytest.mark.parametrize("stride", [1, 2])
def test_what_the_page_of_ops_says_the_multi_scale_stage_equals(stride):
    stage = PlainTorch(stride)

    class OfSplit:  # conv_i and epilogue_i stand for the i-th split's own, in order
        def __init__(self, make):
            self.make, self.index = make, -1

        def __call__(self, x):
            self.index += 1
            return self.make(self.index)(x)

    shown = stage.run(
        "hierarchical_depthwise_conv2d",
        conv_i=OfSplit(stage.conv_of_split),
        epilogue_i=OfSplit(stage.epilogue_of_split),
    )
    y = ops.hierarchical_depthwise_conv2d(
        stage.x,
        stage.weight,
        stage.bias,
        **stage.options,
        **stage.epilogue,
        splits=4,
        out_scale=stage.out_scale,
        out_shift=stage.out_shift,
        sge_weight=stage.sge_weight,
        sge_bias=stage.sge_bias,
        groups=3,
    )
    _close(y, shown["y"])


def test_what_the_page_of_ops_says_the_training_forms_equal():
    stage = PlainTorch(stride=2)
    norm = dict(bn_weight=stage.bn_weight, bn_bias=stage.bn_bias, training=True, activation="relu6")

    def running() -> dict[str, torch.Tensor]:
        return dict(running_mean=stage.running_mean.clone(), running_var=stage.running_var.clone())

    ours, shown = running(), running()
    y = ops.depthwise_conv2d_bn_act(stage.x, stage.weight, stage.bias, **stage.options, **norm, **ours)
    _close(y, stage.run("depthwise_conv2d_bn_act", **shown)["y"])
    _close(ours["running_var"], shown["running_var"])
    ours, shown = running(), running()
    _close(ops.batch_norm_act(stage.x, **norm, **ours), stage.run("batch_norm_act, batch_norm_act_sge", **shown)["y"])
    shown = stage.run("depthwise_conv2d_statistics")
    mean, variance = ops.depthwise_conv2d_statistics(stage.x, stage.weight, stage.bias, **stage.options)
    _close(mean, shown["mean"])
    _close(variance, shown["variance"])


def test_what_the_page_of_ops_says_reconstruct_vertices_equals():
    from frnet.morphable import procedural_face

    model = procedural_face().to(dtype=torch.float64)
    params = torch.randn(2, 62, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    shown = PlainTorch().run("reconstruct_vertices", params=params, mean=model.mean, basis=model.basis)
    torch.testing.assert_close(ops.reconstruct_vertices(params, model), shown["v"], rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in list_models() if name not in ("densenet121", "resnext50_32x4d")])
def test_the_table_of_networks_is_what_they_cost(name):
    (row,) = re.findall(rf"^\| `{name}` \|(.*)\|$", (DOCS / "networks.md").read_text(encoding="utf-8"), re.MULTILINE)
    params, _, macs, _, plain, fused = (cell.strip() for cell in row.split("|"))
    model = create_model(name).eval()
    cost = complexity(model)
    assert (params, macs) == (f"{cost.params / 1e6:.3f}", f"{cost.macs / 1e9:.4f}")
    assert (int(plain), int(fused)) == (count_ops(model), count_ops(model.fuse()))


def test_the_page_of_training_names_every_configuration():
    text = (DOCS / "training.md").read_text(encoding="utf-8")
    assert [name for name in builtin_configs() if f"`{name}`" not in text] == []


def test_what_the_page_of_ops_says_rasterize_interpolates():
    vertices = torch.tensor([[[1.0, 1.0, 0.0], [2.0, 8.0, 1.0], [9.0, 3.0, 2.0], [8.0, 8.0, 3.0]]])
    shown = PlainTorch().run(
        "rasterize",
        ops=ops,
        vertices=vertices,
        triangles=torch.tensor([[0, 1, 2], [2, 1, 3]], dtype=torch.int32),
        attributes=torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(7)),
        height=10,
        width=10,
    )
    inside = shown["seen"].triangles[0] >= 0
    assert 20 < inside.sum() < 80
    torch.testing.assert_close(shown["a"][inside], shown["seen"].attributes[0][inside])
