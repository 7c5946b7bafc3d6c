# What is made from what was fetched: the models, an H.264 clip, the golden frames. Each is made again only
# when its script or anything it is made from has changed. Sourced by scripts/setup.
# shellcheck shell=bash

ours="this is a fault of the set-up itself: please report it with the lines above"

# put_model NAME MODEL_ONNX RECIPE: MODEL_ONNX and the manifest kept in models/zoo become assets/models/NAME.
put_model() {
    local dir=$assets/models/$1
    mkdir -p "$dir"
    cp "models/zoo/$1/model.toml" "$staging/model.toml"
    mv "$2" "$dir/model.onnx"
    mv "$staging/model.toml" "$dir/model.toml"
    mark_made "$1" "$3"
}

convert_nanodet() {
    local script=scripts/models/nanodet_to_onnx.py dir=$assets/models/nanodet made
    made=$(recipe $script models/zoo/nanodet/model.toml scripts/lib/python-demo.txt \
        "$nanodet_json_sha256" "$nanodet_bin_sha256")
    is_made nanodet "$made" "$dir/model.onnx" "$dir/model.toml" && return
    step "model nanodet" "$ours" "$python" $script "$assets/weights/nanodet.json" "$staging/nanodet.onnx"
    put_model nanodet "$staging/nanodet.onnx" "$made"
}

# The frames of these clips show the quantizer the range of every tensor.
quantize_nanodet() {
    local script=scripts/models/quantize.py clip clips=() dir=$assets/models/nanodet-int8 made
    for clip in vtest.avi bikes.mp4 bigbuckbunny.mp4 carphone_pristine.mp4; do clips+=("$assets/clips/$clip"); done
    made=$(recipe $script scripts/models/letterbox.py models/zoo/nanodet-int8/model.toml scripts/lib/python-test.txt \
        "$assets/models/nanodet/model.onnx" "${clips[@]}")
    is_made nanodet-int8 "$made" "$dir/model.onnx" "$dir/model.toml" && return
    step "model nanodet-int8, calibrated on ${#clips[@]} clips" "$ours" \
        "$python" $script "$assets/models/nanodet/model.onnx" "$staging/nanodet-int8.onnx" "${clips[@]}"
    put_model nanodet-int8 "$staging/nanodet-int8.onnx" "$made"
}

# What the Python reference finds in six frames of vtest, for the tests to agree with.
make_golden() {
    local script=scripts/models/golden.py made
    made=$(recipe $script scripts/models/letterbox.py scripts/lib/python-test.txt \
        "$assets/models/nanodet/model.onnx" "$assets/clips/vtest.avi")
    is_made golden "$made" "$assets/golden/nanodet_vtest.json" && return
    mkdir -p "$staging/golden"
    step "golden frames" "$ours" "$python" $script "$assets/models/nanodet/model.onnx" "$assets/clips/vtest.avi" "$staging/golden"
    rm -rf "$assets/golden"
    mv "$staging/golden" "$assets/golden"
    mark_made golden "$made"
}

# vtest as a camera would send it: H.264 without B-frames, a key frame each 5 s, all 795 frames.
encode_vtest_h264() {
    local clip=$assets/clips/vtest_h264.mp4 source=$assets/clips/vtest.avi half=$staging/vtest_h264.mp4 made
    local options=(-an -c:v libx264 -preset medium -crf 20 -bf 0 -g 50 -pix_fmt yuv420p -movflags +faststart)
    made=$(recipe "$source" "${options[*]}")
    is_made vtest_h264 "$made" "$clip" && return
    step "vtest_h264.mp4" "$ours" ffmpeg -nostdin -hide_banner -loglevel error -i "$source" "${options[@]}" "$half"
    local frames
    frames=$(ffprobe -v error -select_streams v:0 -count_packets -show_entries stream=nb_read_packets -of csv=p=0 "$half")
    [[ $frames == 795 ]] || die "vtest_h264.mp4 has $frames frames instead of 795" "$ours"
    mv "$half" "$clip"
    mark_made vtest_h264 "$made"
}
