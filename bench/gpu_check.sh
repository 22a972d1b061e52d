#!/usr/bin/env bash
# Everything that needs a GPU, in one command that ends within nine minutes:
#   bash bench/gpu_check.sh [OUTPUT_FOLDER]
# builds for the GPU at hand, runs cuda_tests (also under compute-sanitizer's memcheck and racecheck), the Python tests
# marked cuda, and the benchmarks on the device, and writes one JSON with all of it: OUTPUT_FOLDER/gpu.json (default
# bench/results). Wants torch with CUDA, nvcc, and, for the independent oracle, CuPy. A step that fails or runs out of
# its time is reported in the JSON and at the end; the others still run.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-bench/results}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
python=${PYTHON:-python3}
capability=$("$python" -c 'import torch; print("%d.%d" % torch.cuda.get_device_capability())') || {
  echo "no GPU that torch can use" >&2
  exit 1
}
export TORCH_CUDA_ARCH_LIST=$capability FRNET_CUDA=1 MAX_JOBS=${MAX_JOBS:-$(nproc)}

total=530  # seconds for all steps; what would begin later is reported as out of time

# step NAME SECONDS COMMAND...: runs it with a limit, keeps its output and notes how it ended.
step() {
  local name=$1 limit=$2 begin=$SECONDS status=0
  shift 2
  if ((SECONDS + limit > total)); then limit=$((total > SECONDS ? total - SECONDS : 1)); fi
  echo "=== $name"
  timeout "$limit" "$@" > "$work/$name.log" 2>&1 || status=$?
  echo "$name $status $((SECONDS - begin))" >> "$work/steps"
  tail -n 4 "$work/$name.log"
}

step build 180 "$python" -m pip install -q --no-build-isolation --no-deps -e .
step configure 30 cmake -G Ninja -S . -B "$work/ctest" -DFRNET_BUILD_TESTS=ON -DFRNET_CUDA=1 \
  "-DCMAKE_CUDA_ARCHITECTURES=${capability/./}"
tests=$(cd cuda_tests && ls test_*.cpp | sed 's/^test_//; s/\.cpp$//' | grep -v emulation)
step build_cuda_tests 180 ninja -C "$work/ctest" $(printf 'device_%s ' $tests)
step cuda_tests 60 ctest --test-dir "$work/ctest" -R device_ --output-on-failure
step python_tests 90 "$python" -m pytest -q -m cuda python_tests
step benchmarks 200 "$python" -m pytest -q bench --device cuda -p no:cacheprovider \
  --benchmark-max-time 0.05 --benchmark-min-rounds 3 "--benchmark-json=$work/benchmarks.json"
# Last: what the sanitizers do not get to in time is reported as failed, and costs no figure.
for tool in memcheck racecheck; do
  for test in $tests; do
    # A sample of the cases: the sanitizer slows them down a hundredfold.
    FRNET_TEST_EVERY=12 step "${tool}_$test" 40 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$work/ctest/cuda_tests/device_$test"
  done
done

"$python" - "$work" "$out/gpu.json" <<'EOF'
import json, pathlib, subprocess, sys, torch
work, target = map(pathlib.Path, sys.argv[1:])
steps = [line.split() for line in (work / "steps").read_text().splitlines()]
report = json.loads((work / "benchmarks.json").read_text()) if (work / "benchmarks.json").is_file() else {"benchmarks": []}
report["device"] = torch.cuda.get_device_name()
report["versions"] = {"torch": torch.__version__, "cuda": torch.version.cuda}
report["commit"] = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
report["steps"] = [
    {"name": name, "status": int(status), "seconds": int(seconds), "end": (work / f"{name}.log").read_text()[-1500:]}
    for name, status, seconds in steps
]
target.write_text(json.dumps(report, indent=1) + "\n")
failed = [step["name"] for step in report["steps"] if step["status"]]
print(f"{target}: {len(steps)} steps, {len(report['benchmarks'])} benchmark rows; failed: {', '.join(failed) or 'none'}")
sys.exit(bool(failed))
EOF
