"""edgeds: one quantization, three formats, and proof of what arrives on the device."""

__version__ = "0.1.0"
