"""How a frame is laid into the model's input: shared by the quantizer and the golden reference."""

import cv2
import numpy as np

# The size that the manifests name: vtest's 4:3 frames leave a strip of 8 rows free in it.
WIDTH, HEIGHT = 416, 320


def letterbox(frame):
    """Scales a BGR frame into the top left of a black picture; returns it and its pixels per frame pixel."""
    height, width = frame.shape[:2]
    scale = min(WIDTH / width, HEIGHT / height)
    size = round(width * scale), round(height * scale)
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[: size[1], : size[0]] = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return picture, scale
