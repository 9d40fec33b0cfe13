"""What a LLaVA adds to its language model's vocabulary; light, for sizes are told without torch.

In: nothing. Out: the two tokens and the rounding of rows. Reference: llava-hf/llava-1.5-7b-hf adds
`<image>` (id = the old vocabulary's size), then `<pad>`, and has 32,064 rows for 32,002 tokens.
"""

IMAGE_TOKEN = "<image>"
PAD_TOKEN = "<pad>"
NEW_TOKENS = (IMAGE_TOKEN, PAD_TOKEN)
ROW_MULTIPLE = 64
"""The rows of the embeddings and of the head are padded to this multiple."""
