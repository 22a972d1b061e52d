"""Which CUDA architectures a build takes: cmake/cuda.cmake, with an nvidia-smi and an nvcc that say what they must."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CMAKE = shutil.which("cmake")
KNOWN = "75 80 86 87 88 89 90 100 110 103 120 121"  # by nvcc 13.0
WITHOUT_A_GPU = "80-real;80-virtual"

pytestmark = pytest.mark.skipif(CMAKE is None, reason="no cmake on the PATH")


def program(path: Path, *lines: str) -> None:
    path.write_text("#!/bin/sh\n" + "".join(f"{line}\n" for line in lines))
    path.chmod(0o755)


@pytest.fixture
def architectures(tmp_path):
    """(result, warnings) of frnet_cuda_architectures, in CMake's spelling."""

    def run(*gpus: str, wanted="auto", torch_list="", known=KNOWN, version="13.0", smi="") -> tuple[str, str]:
        program(tmp_path / "nvidia-smi", smi or "; ".join(f"echo '{gpu}'" for gpu in gpus))
        program(tmp_path / "nvcc", f'test "$1" = --list-gpu-arch && printf "compute_%s\\n" {known}')
        script = tmp_path / "script.cmake"
        script.write_text(
            f'set(FRNET_CUDA_ARCHS "{wanted}")\n'
            f"include({ROOT}/cmake/cuda.cmake)\n"
            f"frnet_cuda_architectures({tmp_path}/nvcc {version} result)\n"
            'message(STATUS "result ${result}")\n'
        )
        environment = {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin", "TORCH_CUDA_ARCH_LIST": torch_list}
        done = subprocess.run([CMAKE, "-P", script], env=environment, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise ValueError(done.stderr)
        return done.stdout.partition("result ")[2].strip(), " ".join(done.stderr.split())

    return run


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        (["9.0"], "90-real;90-virtual"),
        (["8.9", "8.6", "8.9"], "86-real;89-real;89-virtual"),
        (["12.0", "7.5"], "75-real;120-real;120-virtual"),
        ([], WITHOUT_A_GPU),
        (["[N/A]"], WITHOUT_A_GPU),
    ],
)
def test_those_of_the_gpus_that_are_here(architectures, gpus, expected):
    assert architectures(*gpus) == (expected, "")


def test_a_gpu_newer_than_nvcc_gets_ptx(architectures):
    assert architectures("10.3", known="75 80 86 89 90", version="12.4")[0] == "90-real;90-virtual"


def test_a_gpu_too_old_for_nvcc_is_left_out_with_a_word(architectures):
    result, warning = architectures("5.2", "8.6")
    assert result == "86-real;86-virtual"
    assert "no code for the GPU of compute capability 5.2" in warning


@pytest.mark.parametrize("smi", ["echo 'NVIDIA-SMI has failed, code 9.0'; exit 9", "exit 127"])
def test_without_a_driver_one_architecture_and_its_ptx(architectures, smi):
    assert architectures(smi=smi) == (WITHOUT_A_GPU, "")


def test_release_is_a_list_whatever_is_here(architectures):
    expected = "75-real;80-real;90-real;100-real;100-virtual;120-real;120-virtual"
    assert architectures("8.6", wanted="release")[0] == expected
    assert architectures("8.6", wanted="release", torch_list="9.0")[0] == expected
    assert architectures(wanted="release", version="12.4")[0] == "75-real;80-real;90-real;90-virtual"


@pytest.mark.parametrize("spelling", ["8.0 9.0a+PTX", "8.0;9.0a+PTX"])
def test_lists_are_taken_as_they_are(architectures, spelling):
    expected = "80-real;90a-real;90a-virtual"
    assert architectures("8.6", torch_list=spelling)[0] == expected
    assert architectures("8.6", wanted=spelling, torch_list="7.5")[0] == expected


@pytest.mark.parametrize("wrong", ["sm_90", "native", "9"])
def test_what_is_no_architecture_is_named(architectures, wrong):
    with pytest.raises(ValueError, match=f"'{wrong}' is not like 8.0"):
        architectures(wanted=wrong)
