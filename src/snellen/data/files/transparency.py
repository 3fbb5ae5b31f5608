"""Images that show viewers something else than classifiers see, since decoding drops their transparency."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from snellen.core.images import ImageSet
from snellen.data.files.costly_structure import refuse_costly
from snellen.data.files.decoding import FORMATS, pillow_warnings_contained


def hidden_content(images: ImageSet, row: int) -> str | None:
    """Why an image may show more than the classifier sees: it is partly transparent. None where it is not.

    Transparency is dropped when an image is decoded, while viewers blend it, so both see different images. Images of
    several frames are refused when they are read.
    """
    source = images.source
    if not hasattr(source, "stored") or images.rows is None:
        return None
    try:
        content = source.stored(int(images.rows[row]))
        refuse_costly(content)
        with pillow_warnings_contained(), Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            if "A" not in opened.getbands() and "transparency" not in opened.info:
                return None
            images.read(row)  # size and shape are checked before the whole of it is decoded
            alpha = np.asarray(opened.convert("RGBA").getchannel("A"))
    except Exception:  # Pillow raises many kinds of errors on damaged files; the reading that follows names the reason
        return None
    if int(alpha.min()) == 255:
        return None
    return "it is partly transparent, so viewers show another image than the classifier sees; flatten it first"
