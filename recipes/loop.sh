#!/usr/bin/env bash
# The loop on a clip, a command a step: stream, pick, judge, label, retrain, compare, put in place if it wins.
# usage: NARROWCAST_DATA=folder recipes/loop.sh OUT [--page | HELD_BACK_TEACHER]
# With --page a person judges the proposed labels in the browser, and ends the page with Ctrl-C. Without it a held-back
# teacher, better than the one that the stream learns from, judges in a person's place. It labels what is set aside.
set -euo pipefail
out=$1
here=$(cd "$(dirname "$0")" && pwd)
better=$here/teachers/deeplab-voc-tta.toml
page=no
case ${2:-} in
--page) page=yes ;;
?*) better=$2 ;;
esac
clip=$NARROWCAST_DATA/clips/vtest.avi
classes="person,car+bus=auto"
half=400

narrowcast stream run "$clip" --teacher embedded --classes "$classes" --size 384x288 --max-frames $half \
  --method learning --output lessons --out "$out/run"
narrowcast loop pick "$out/run" --out "$out/picked" --num 24
narrowcast mine index "$out/picked/proposals/photos" --pool "$out/pool" --alone
if [ $page = yes ]; then
  echo "begin a category 'right': positive where the labels on the right half are right; then Ctrl-C"
  trap : INT # ends the page, not the recipe
  narrowcast mine label --pool "$out/pool" || true
  trap - INT
else
  narrowcast loop judge --frames "$out/picked/frames" --pool "$out/pool" --teacher "$better" --classes "$classes" \
    --least 0.7
fi
narrowcast loop label --frames "$out/picked/frames" --labels "$out/picked/labels" --judged "$out/pool" --category right
narrowcast loop retrain "$out/run" --frames "$out/picked/frames" --labels "$out/picked/labels" \
  --size 384x288 --out "$out/new.safetensors"
narrowcast loop aside "$clip" --first $half --every 10 --out "$out/aside"
narrowcast loop label --frames "$out/aside/frames" --labels "$out/aside/labels" --teacher "$better" --classes "$classes"
narrowcast loop promote "$out/run" "$out/new.safetensors" --frames "$out/aside/frames" --labels "$out/aside/labels" \
  --place "$out/student.safetensors"
