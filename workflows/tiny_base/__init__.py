"""The tiny base: a CLIP tower and a Llama of a few million parameters, trained here and shipped."""
