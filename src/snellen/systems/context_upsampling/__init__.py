"""LCTC: upsampling by large context transposed convolutions, for models that decide each pixel (arXiv 2311.17524)."""
