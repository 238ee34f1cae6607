#!/usr/bin/env bash
# The loop on a clip, a command a step: stream, pick, label, retrain, compare, put in place if it wins.
# usage: NARROWCAST_DATA=folder recipes/loop.sh OUT [HELD_BACK_TEACHER]
# The held-back teacher, better than the one that the stream learns from, answers in a person's place.
set -euo pipefail
out=$1
here=$(cd "$(dirname "$0")" && pwd)
person=${2:-$here/teachers/deeplab-voc-tta.toml}
clip=$NARROWCAST_DATA/clips/vtest.avi
classes="person,car+bus=auto"
half=400

narrowcast stream run "$clip" --teacher embedded --classes "$classes" --size 384x288 --max-frames $half \
  --output lessons --out "$out/run"
narrowcast loop pick "$out/run" --out "$out/picked" --num 24
narrowcast mine index "$out/picked/frames" --pool "$out/pool"
narrowcast loop label --frames "$out/picked/frames" --labels "$out/picked/labels" --teacher "$person" --classes "$classes"
narrowcast loop retrain "$out/run" --frames "$out/picked/frames" --labels "$out/picked/labels" \
  --size 384x288 --out "$out/new.safetensors"
narrowcast loop aside "$clip" --first $half --every 10 --out "$out/aside"
narrowcast loop label --frames "$out/aside/frames" --labels "$out/aside/labels" --teacher "$person" --classes "$classes"
narrowcast loop promote "$out/run" "$out/new.safetensors" --frames "$out/aside/frames" --labels "$out/aside/labels" \
  --place "$out/student.safetensors"
