"""The published pictures of frost and ink, told by the sha256 of their files; only the hashes are kept here.

``FROST``: the six photographs of ImageNet-C (github.com/hendrycks/robustness, Apache-2.0), as the pip package
imagecorruptions-imaug 1.1.5 ships them in its folder ``imagecorruptions/frost``. ``INKS``: the ink shapes of MedMNIST-C
(Apache-2.0), one file ``inks.npz`` in the folder ``medmnistc/assets`` of the pip package medmnistc 0.1.0.
"""

from __future__ import annotations

#: frost1.png, frost2.png, frost3.png, frost4.jpg, frost5.jpg, frost6.jpg.
FROST = (
    "ff9f907860bd7a835d459e32f9d588062b7f61ee267343cc7222b56753a14755",
    "fe211a89b336999c207a852ce05818d4545d0b57c5beadd824b4cc9d9a9b6137",
    "2d0d50b4a9bb213f38b024ef7768731bb83cc08d2f26b5766bbc167cdfa0e504",
    "3f8b91ca1a9fa7167b09e773da53f5ae60d0a1fd88f02a783f6e328a72887f6e",
    "5fc6a19df4a429ba68abdcc8f8a4278d4c9f81c9ccafd2c92ab0c8cf8992ebd2",
    "1f92b2f48408748085b68dd81d816ef239f42cef3029c25d041fcb6760fb4f25",
)

#: inks.npz.
INKS = ("76a895e8f4ba6f98cc13fffd6060e1b2ef037e7baee6c5393732346a40eecf0f",)

#: Arrays of ``inks.npz`` that the published code uses: ten shapes of 24 pixels, and for severity 5 ten of 32; 1 is ink.
INK_SIZES = ("3", "4")
