"""Models: built from a shape or read from a checkpoint, their loss, their tensors on disk, ranks.

Ask for `build.build_scratch`, `pretrained.checkpoint_content`, `tensors`, `distributed.join`.
"""
