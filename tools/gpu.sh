#!/usr/bin/env bash
# One visit to a machine with a GPU: tools/gpu.sh SECONDS [PART...], results in $OUT (default: build/gpu).
#
# Parts: tests, table (TABLE="--ratios 100" for one column), and those that tools/benchmark/gpu.py explains. Each has a
# limit of its own, nothing runs longer than SECONDS in all, and what was measured is kept whatever comes next.
set -u
cd "$(dirname "$0")/.."
limit=${1:-540}
shift
out=${OUT:-build/gpu}
mkdir -p "$out"
python=${PYTHON:-python3}
export PYTHONPATH=. PYTHONUNBUFFERED=1

declare -A most=([claims]=300 [first]=75 [tests]=150 [ladder]=120 [together]=100 [profile]=60 [compiled]=140 [table]=600
    [probed]=40 [probed_float32]=40 [probed_compiled]=75)
[ $# -eq 0 ] && set -- first tests ladder together profile compiled
for part in "$@"; do
    [ -n "${most[$part]:-}" ] || { echo "$part: no such part; there are: ${!most[*]}" | tee -a "$out/log.txt"; exit 2; }
    left=$((limit - SECONDS))
    [ "$left" -lt 10 ] && { echo "$part: no time left" | tee -a "$out/log.txt"; continue; }
    seconds=$((left < most[$part] ? left : most[$part]))
    echo "== $part: at most $seconds s, $SECONDS s gone" | tee -a "$out/log.txt"
    case $part in
        tests)
            PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 timeout -k 5 "$seconds" "$python" -m pytest -p xdist.plugin -n 8 -q \
                -p no:cacheprovider -o filterwarnings=default --maxfail=25 --tb=short -m gpu \
                tests/test_graph.py tests/test_methods.py tests/test_benchmark.py tests/test_datasets.py \
                tests/test_folder.py tests/test_collector.py tests/test_own_network.py tests/test_table.py ;;
        table)
            timeout -k 5 "$seconds" "$python" -m ltviz table dual-cifar10 --train --probe ${TABLE:-} --seconds $((seconds - 15)) \
                --folder "$out/runs" ;;
        *) timeout -k 5 "$seconds" "$python" -m tools.benchmark gpu "$part" --json "$out/gpu-$part.json" ;;
    esac 2>&1 | tee -a "$out/log.txt"
done
