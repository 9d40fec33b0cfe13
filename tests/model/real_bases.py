"""What the config.json of LLaVA-1.5's real bases says of their sizes.

Reference: openai/clip-vit-large-patch14-336 and lmsys/vicuna-13b-v1.5 on the hub.
"""

CLIP_L = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "image_size": 336,
    "patch_size": 14,
}
VICUNA_13B = {
    "model_type": "llama",
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
}
